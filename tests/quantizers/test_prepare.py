import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compress.errors import CompressError, DataError, RecipeError
from compress.models.layers import ConvNorm
from compress.quantizers import QUANTIZERS, calibrate, freeze, freeze_ranges, prepare, quantized_modules, set_float
from compress.quantizers.prepare import activation_quantizers
from compress.recipe.sections import Quantize

LAYERS = {
    "encoders.image.pixels": "pixels",
    "encoders.image.stem": "conv",
    "encoders.image.depthwise": "conv",
    "encoders.image.project": "conv",
    "encoders.image.sum": "sum",
    "encoders.image.last": "conv",
    "encoders.text.words": "embedding",
    "encoders.text.query": "linear",
    "encoders.text.key": "linear",
    "encoders.text.value": "linear",
    "encoders.text.mix": "linear",
    "head": "linear",
}


@pytest.fixture
def prepared(make_student, batches):
    model = prepare(make_student(), Quantize())
    calibrate(model, batches)
    return model


def train(model: nn.Module, draw, *, steps: int, learning_rate: float = 2e-3, optimizer=None) -> list[float]:
    model.train()
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    inputs = draw(32, seed=7)
    labels = inputs["text"][:, 0] % 5
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_every_method_of_the_recipe_is_in_the_table() -> None:
    assert set(QUANTIZERS) == set(Quantize.model_fields["method"].annotation.__args__)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_quantizer_runs_from_prepare_to_freeze(name: str, make_student, batches, draw) -> None:
    method, model, inputs = QUANTIZERS[name], make_student(), draw(8, seed=3)
    prepared = method.prepare(model, Quantize(method=name))
    if method.calibrated:
        calibrate(prepared, batches)
    frozen = method.freeze(prepared)
    assert not frozen.training
    assert bool(quantized_modules(frozen)) == method.calibrated
    assert (frozen(inputs).argmax(1) == model(inputs).argmax(1)).float().mean() >= 0.75


def test_prepare_replaces_every_layer_and_leaves_the_model_alone(make_student) -> None:
    model = make_student()
    before = copy.deepcopy(model.state_dict())
    layers = quantized_modules(prepare(model, Quantize()))
    assert {name: layer.kind for name, layer in layers.items()} == LAYERS
    assert all(layer.name == name for name, layer in layers.items())
    assert isinstance(model.encoders["image"].stem, ConvNorm)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_prepare_passes_the_options_of_the_recipe(make_student) -> None:
    model = prepare(make_student(), Quantize(weight_bits=5, activation_bits=6, per_channel=False, observer="histogram"))
    layer = quantized_modules(model)["encoders.image.stem"]
    assert (layer.weight_quant.levels, layer.weight_quant.per_channel) == (15, False)
    assert (layer.output_quant.levels, type(layer.output_quant.observer).__name__) == (31, "Histogram")


def test_prepare_keeps_a_shared_layer_shared() -> None:
    shared = nn.Linear(4, 4)
    model = prepare(nn.Sequential(shared, nn.ReLU(), shared), Quantize())
    assert model[0] is model[2]


def test_prepare_refuses_a_model_without_layers() -> None:
    with pytest.raises(CompressError, match=r"method: none"):
        prepare(nn.Sequential(nn.ReLU()), Quantize())


def test_keep_float_covers_a_prefix(make_student) -> None:
    layers = quantized_modules(prepare(make_student(), Quantize(keep_float=["encoders.text", "encoders.image.stem"])))
    floating = {name for name, layer in layers.items() if layer.floating.on}
    assert floating == {name for name in LAYERS if name.startswith("encoders.text.")} | {"encoders.image.stem"}


def test_keep_float_with_a_wrong_name_lists_near_names(make_student) -> None:
    with pytest.raises(RecipeError) as caught:
        prepare(make_student(), Quantize(keep_float=["encoders.image.steam", "tail"]))
    assert len(caught.value.problems) == 2
    assert "'encoders.image.steam' covers no layer" in caught.value.problems[0]
    assert "'encoders.image.stem'" in caught.value.problems[0]


def test_model_with_every_layer_in_float_is_the_folded_model(prepared, make_student, draw) -> None:
    inputs = draw(8, seed=3)
    set_float(prepared, LAYERS, True)
    prepared.eval()
    assert torch.allclose(prepared(inputs), make_student()(inputs), atol=1e-5)
    set_float(prepared, LAYERS, False)
    assert not torch.allclose(prepared(inputs), make_student()(inputs), atol=1e-5)


def test_int8_layer_after_a_float_one_reads_its_makers_grid(prepared, draw) -> None:
    image = prepared.encoders["image"]
    set_float(prepared, ["encoders.image.stem"], True)
    prepared.eval()
    inputs = draw(4, seed=3)
    stem = image.stem(image.pixels(inputs["image"]))
    steps = stem / image.stem.output_quant.scale
    assert not torch.allclose(steps, steps.round(), atol=1e-3)  # the float layer's own output is float
    seen = image.depthwise.take(stem) / image.stem.output_quant.scale
    assert torch.allclose(seen, seen.round(), atol=1e-4)
    set_float(prepared, ["encoders.image.depthwise"], True)
    assert image.depthwise.take(stem) is stem


def test_calibrate_sets_every_range_and_no_weight(make_student, batches) -> None:
    model = prepare(make_student(), Quantize())
    weights = {k: v.clone() for k, v in model.named_parameters()}
    calibrate(model, batches)
    quantizers = activation_quantizers(model)
    assert len(quantizers) == len(LAYERS) - 1  # an embedding has no activation quantizer
    assert all(int(q.seen) == len(batches) and float(q.scale) != 1 for q in quantizers.values())
    assert all(torch.equal(weights[k], v) for k, v in model.named_parameters())


def test_calibrate_takes_rows(make_student, draw) -> None:
    model = prepare(make_student(), Quantize())
    calibrate(model, [(draw(4, seed=1), {"image": torch.tensor([0, 0, 3]), "text": torch.tensor([1, 2, 2])})])
    assert int(model.head.input_quant.seen) == 1


def test_calibrate_refuses_an_empty_set(make_student) -> None:
    with pytest.raises(DataError, match="empty"):
        calibrate(prepare(make_student(), Quantize()), [])


def test_calibrate_refuses_a_constant_set(make_student, draw) -> None:
    inputs = draw(8, seed=0)
    inputs["image"] = inputs["image"][:1].expand(8, -1, -1, -1)
    with pytest.raises(DataError, match=r"constant: all inputs of 'image' are equal"):
        calibrate(prepare(make_student(), Quantize()), [(inputs, None)])


def test_calibrate_refuses_values_that_are_all_zero() -> None:
    model = prepare(nn.ModuleDict({"only": nn.Linear(3, 2)}), Quantize())
    model.forward = lambda inputs, rows: model["only"](inputs["x"] * 0.0)
    with pytest.raises(DataError, match=r"every value seen is zero, first at only\.input_quant"):
        calibrate(model, [({"x": torch.rand(4, 3)}, None)])


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram"])
def test_calibrate_names_the_layer_that_gives_nan(observer: str, make_student, batches) -> None:
    student = make_student()
    with torch.no_grad():
        student.encoders["image"].project.conv.weight[0] = torch.nan
    with pytest.raises(DataError, match=r"encoders\.image\.project\.output_quant: the range of its values is nan"):
        calibrate(prepare(student, Quantize(observer=observer)), batches)


def test_freeze_names_the_layer_whose_weights_diverged(prepared) -> None:
    with torch.no_grad():
        prepared.encoders["text"].words.weight[3] = torch.inf
    with pytest.raises(DataError, match=r"encoders\.text\.words: its weights hold NaN"):
        freeze(prepared)


def test_freeze_refuses_a_model_that_was_not_calibrated(make_student) -> None:
    with pytest.raises(DataError, match=r"encoders\.image\.pixels\.output_quant: no range"):
        freeze(prepare(make_student(), Quantize()))


@pytest.mark.parametrize("learned", [True, False])
def test_quantization_aware_steps_reduce_the_loss(learned: bool, make_student, batches, draw) -> None:
    model = prepare(make_student(), Quantize(learned_step_size=learned))
    calibrate(model, batches)
    losses = train(model, draw, steps=40)
    assert losses[-1] < 0.7 * losses[0]


def test_learned_scales_are_trained(make_student, batches, draw) -> None:
    model = prepare(make_student(), Quantize(learned_step_size=True))
    calibrate(model, batches)
    before = {k: v.clone() for k, v in model.named_parameters() if k.endswith("log_scale")}
    train(model, draw, steps=2)
    after = dict(model.named_parameters())
    assert len(before) == len(LAYERS) - 1
    assert all(not torch.equal(before[k], after[k]) for k in before)


def test_frozen_ranges_do_not_move_in_training(prepared, draw) -> None:
    def scales() -> list[float]:
        return [float(q.scale) for q in activation_quantizers(prepared).values()]

    first = scales()
    train(prepared, draw, steps=2)
    moved = scales()
    assert moved != first
    freeze_ranges(prepared)
    train(prepared, draw, steps=3)
    assert scales() == moved


@pytest.mark.parametrize(("bits", "learned"), [(8, False), (8, True), (4, False)])
def test_frozen_model_computes_what_was_trained(bits: int, learned: bool, make_student, batches, draw) -> None:
    config = Quantize(activation_bits=bits, weight_bits=bits, learned_step_size=learned, keep_float=["encoders.image.project"])
    model = prepare(make_student(), config)
    calibrate(model, batches)
    train(model, draw, steps=2)
    frozen, inputs = freeze(model), draw(8, seed=5)
    assert torch.equal(frozen(inputs), model.eval()(inputs))
    layers = quantized_modules(frozen)
    assert layers["head"].weight is None and layers["head"].weight_quant.integers.dtype == torch.int8
    assert layers["encoders.image.project"].weight is not None


def test_frozen_layer_cannot_go_back_to_float(prepared) -> None:
    with pytest.raises(CompressError, match=r"head: its float weight is gone"):
        set_float(freeze(prepared), ["head"], True)


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram"])
@pytest.mark.parametrize("learned", [True, False])
def test_training_goes_on_bit_for_bit_from_saved_state(observer: str, learned: bool, make_student, batches, draw, tmp_path) -> None:
    config = Quantize(observer=observer, learned_step_size=learned)

    def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=1e-2)  # no state of its own

    one = prepare(make_student(), config)
    calibrate(one, batches)
    set_float(one, ["encoders.text.mix"], True)
    train(one, draw, steps=2, optimizer=optimizer_of(one))
    freeze_ranges(one)
    save_file(one.state_dict(), tmp_path / "state.safetensors")
    other = prepare(make_student(), config)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert quantized_modules(other)["encoders.text.mix"].floating.on
    assert train(one, draw, steps=3, optimizer=optimizer_of(one)) == train(other, draw, steps=3, optimizer=optimizer_of(other))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
    inputs = draw(4, seed=1)
    assert torch.equal(freeze(one)(inputs), freeze(other)(inputs))
