import copy

import pytest
import torch
from torch import nn

from compress.errors import CompressError
from compress.models.layers import ConvNorm, MaxPool, Pixels, Sum
from compress.models.vision import CENTRE, SPREAD
from compress.quantizers.modules import QuantConvNorm, QuantEmbedding, QuantLinear, fold_norms, quantized_layer
from compress.recipe.sections import Quantize


def test_fold_norms_is_exact_in_eval_mode(make_student, draw) -> None:
    model = make_student()
    folded = fold_norms(copy.deepcopy(model))
    inputs = draw(8, seed=1)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert torch.allclose(model(inputs), folded(inputs), atol=1e-5)
    assert model(inputs).std() > 0.01  # the logits are not all alike


def test_fold_norms_refuses_a_norm_without_statistics() -> None:
    block = ConvNorm(3, 4)
    block.norm = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(CompressError, match="track_running_stats"):
        fold_norms(block)


def test_conv_norm_quantizes_weight_and_output() -> None:
    torch.manual_seed(0)
    block = fold_norms(ConvNorm(3, 4, kernel=3).eval())
    pixels = quantized_layer(Pixels((0.5,) * 3, (0.5,) * 3), Quantize(), name="pixels")
    layer = quantized_layer(block, Quantize(), name="stem")
    assert isinstance(layer, QuantConvNorm)
    for quant in (pixels.output_quant, layer.output_quant):
        quant.collecting = True
    image = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    layer(pixels(image))
    for quant in (pixels.output_quant, layer.output_quant):
        quant.collecting = False
        quant.settle()
    y = layer.eval()(pixels.eval()(image))
    steps = y / layer.output_quant.scale
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    weight, scale = layer.quantized_weight(), layer.weight_quant.find_scale(layer.weight).view(-1, 1, 1, 1)
    assert torch.allclose(weight / scale, (weight / scale).round(), atol=1e-4)
    expected = block(pixels(image))
    assert (y - expected).abs().max() < 0.05 * expected.abs().max()


def test_conv_refuses_an_input_that_nobody_quantized() -> None:
    layer = quantized_layer(fold_norms(ConvNorm(3, 4)), Quantize(), name="encoders.image.late")
    with pytest.raises(CompressError, match=r"encoders\.image\.late: its input is not the direct output"):
        layer(torch.rand(1, 3, 4, 4))


def test_embedding_reads_the_rows_of_the_quantized_table() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(30, 8, padding_idx=0)
    layer = quantized_layer(table, Quantize(), name="words")
    assert isinstance(layer, QuantEmbedding)
    ids = torch.tensor([[1, 5, 0], [7, 7, 2]])
    scale = table.weight.abs().max() / 127
    expected = (table.weight / scale).round().mul(scale)[ids]
    assert torch.allclose(layer(ids), expected, atol=1e-6)
    assert (layer(ids) - table(ids)).abs().max() <= scale / 2 * 1.001
    fake = layer(ids).detach()
    layer.bake()
    assert layer.weight is None and torch.equal(layer(ids), fake)


def test_embedding_gives_no_gradient_to_padding() -> None:
    layer = quantized_layer(nn.Embedding(5, 3, padding_idx=0), Quantize(), name="words")
    layer(torch.tensor([0, 2])).sum().backward()
    assert layer.weight.grad[0].abs().sum() == 0
    assert layer.weight.grad[2].tolist() == [1.0, 1.0, 1.0]


def test_embedding_with_max_norm_is_refused() -> None:
    with pytest.raises(CompressError, match=r"words: an embedding with max_norm=1.0"):
        quantized_layer(nn.Embedding(5, 3, max_norm=1.0), Quantize(), name="words")


def test_linear_in_float_is_the_linear() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 4)
    layer = quantized_layer(linear, Quantize(), name="head")
    assert isinstance(layer, QuantLinear)
    layer.floating.set(True)
    x = torch.randn(3, 6)
    assert torch.equal(layer(x), linear(x))


def test_other_layers_stay_as_they_are() -> None:
    for layer in (nn.LayerNorm(4), nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Dropout()):
        assert quantized_layer(layer, Quantize(), name="x") is None


def test_pixels_on_the_int8_grid_lose_nothing_and_see_no_range() -> None:
    pixels = Pixels(CENTRE, SPREAD)
    layer = quantized_layer(pixels, Quantize(activation_bits=4, learned_step_size=True), name="pixels")
    image = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 16, 16, 3)
    for layer.output_quant.collecting in (True, False):
        assert torch.equal(layer.train()(image), pixels(image))
    layer.output_quant.check("pixels")
    layer.output_quant.settle()
    assert float(layer.output_quant.scale) == 1 / 64 == pixels.step
    assert torch.equal(pixels(image).unique() * 64, torch.arange(-128.0, 128.0))


def calibrated(*layers: nn.Module) -> list:
    """The int8 forms of these layers, each ready for one call in calibration."""
    made = [quantized_layer(layer, Quantize(), name=str(index)) for index, layer in enumerate(layers)]
    for layer in made:
        layer.output_quant.collecting = True
    return made


def settle(layers: list) -> None:
    for layer in layers:
        layer.output_quant.collecting = False
        layer.output_quant.settle()
        layer.eval()


def test_sum_with_relu_is_quantized_behind_the_relu() -> None:
    image = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    pixels, added = calibrated(Pixels((0.5,) * 3, (0.5,) * 3), Sum(relu=True))
    added(pixels(image), pixels(image))
    settle([pixels, added])
    y = added(pixels(image), pixels(image))
    assert y.min() == 0 and float(added.output_quant.scale) == pytest.approx(float(y.max()) / 127, rel=1e-5)


def test_max_pool_hands_on_who_made_the_values_and_keeps_their_grid() -> None:
    image = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    pixels, conv = calibrated(Pixels((0.5,) * 3, (0.5,) * 3), fold_norms(ConvNorm(3, 4).eval()))
    pool = MaxPool(3, 2, 1)
    conv(pool(pixels(image)))
    settle([pixels, conv])
    x = pixels(image)
    assert torch.equal(pool(x), nn.functional.max_pool2d(x, 3, 2, 1))
    assert pool(x).made_by is pixels
    conv(pool(x))  # which would be refused for values that nobody quantized
