"""Maps of encoders, and a head that answers for each place: which maps it takes, what a place is made of, and its int8 form."""

from __future__ import annotations

import pytest
import torch

from compress.errors import RecipeError
from compress.io_spec import IOSpec, Port
from compress.models.maps import FlatMaps, pick_maps, sizes_from
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.numbers import raw
from compress.models.pretrained import efficientnet_lite2
from compress.models.student import fitted_teacher, student
from compress.models.transformers_cnn import transformers_cnn
from compress.models.vision import mobilenet_v4
from compress.quantizers.modules import QuantConvNorm, QuantLinear, QuantSum
from compress.quantizers.prepare import calibrate, freeze, prepare, quantized_modules
from compress.recipe.sections import Quantize

IMAGE = Port("image", "uint8", (64, 64, 3), 0, 255)
IMAGES = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ROWS = {"image": torch.tensor([2, 0, 0, 1])}
SMALL = {"image": {"model": "mobilenet_v4", "options": {"width": 0.5, "out": 24}}}
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def spec(grid: int, *, classes: int = 3) -> IOSpec:
    return IOSpec((IMAGE,), (Port("logits", "float32", (grid * grid * classes,), each=grid * grid, grid=grid),))


@pytest.mark.parametrize(
    ("encoder", "sides"),
    [
        (mobilenet_v4(IMAGE, width=0.5), [32, 16, 8, 4]),
        (mobilenet_v4(IMAGE, width=0.5, stem_stride=1), [64, 32, 16, 8]),
        (mobilenet_v2(IMAGE, width=0.25, out=40), [32, 16, 8, 4, 2]),
        (mobilenet_v2(IMAGE, width=0.25, stride=16, out=40), [64, 32, 16, 8, 4]),
        (efficientnet_lite2(IMAGE, size=128), [64, 32, 16, 8, 4]),
        (transformers_cnn(IMAGE, config=RESNET), [32, 16, 8, 4, 2]),
    ],
    ids=["v4", "v4-fine", "v2", "v2-fine", "lite2", "resnet"],
)
@torch.no_grad()
def test_encoder_gives_the_last_map_of_each_size_and_pools_the_coarsest(encoder: torch.nn.Module, sides: list[int]) -> None:
    maps = encoder.eval()(IMAGES, maps=True)
    assert [x.shape[2] for x in maps] == sides and all(x.shape[2] == x.shape[3] for x in maps)
    if not isinstance(encoder, type(efficientnet_lite2(IMAGE))):  # which pools all of them
        assert torch.allclose(maps[-1].mean((2, 3)), encoder(IMAGES), atol=1e-5)


def test_maps_from_the_grid_on_are_taken_while_each_has_half_the_side() -> None:
    sizes = sizes_from(mobilenet_v4(IMAGE, width=0.5), IMAGE, 16)
    assert [side for _, side in sizes] == [16, 8, 4]
    odd = Port("image", "uint8", (40, 40, 3), 0, 255)  # maps of 20, 10, 5 and 3 pixels a side
    assert [side for _, side in sizes_from(mobilenet_v4(odd, width=0.5), odd, 10)] == [10, 5]


def test_an_encoder_without_fitting_maps_is_refused() -> None:
    with pytest.raises(RecipeError, match="12 x 12 places are to be answered for, and MobileNetV4 has maps of 32, 16, 8, 4 pixels a side"):
        sizes_from(mobilenet_v4(IMAGE, width=0.5), IMAGE, 12)
    numbers = Port("numbers", "float32", (4,))
    with pytest.raises(RecipeError, match="gives no maps"):
        sizes_from(raw(numbers), numbers, 4)


@torch.no_grad()
def test_maps_as_one_vector_are_the_same_maps() -> None:
    encoder = mobilenet_v4(IMAGE, width=0.5).eval()
    sizes = sizes_from(encoder, IMAGE, 16)
    vector = FlatMaps(encoder, sizes)(IMAGES)
    assert vector.shape == (3, sum(c * s * s for c, s in sizes))
    for one, other in zip(pick_maps(vector, sizes), pick_maps(encoder(IMAGES, maps=True), sizes), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
@pytest.mark.parametrize("grid", [16, 8, 4])
def test_each_row_has_an_answer_for_each_place_of_its_input(grid: int) -> None:
    torch.manual_seed(0)
    model = student(spec(grid), encoders=SMALL, head_width=16).eval()
    outputs = model({"image": IMAGES}, ROWS)
    assert outputs.logits.shape == (4, grid * grid * 3) and outputs.embedding.shape == (4, 16)
    assert torch.allclose(outputs.logits, model({"image": IMAGES[ROWS["image"]]}).logits, atol=1e-5)


@torch.no_grad()
def test_places_lie_where_their_pixels_lie() -> None:
    """What changes in a corner of the picture changes the places of that corner most, row after row."""
    torch.manual_seed(0)
    model = student(spec(16), encoders=SMALL, head_width=16).eval()
    changed = IMAGES[:1].clone()
    changed[:, :16, 48:] = 255 - changed[:, :16, 48:]  # above, to the right
    moved = (model({"image": changed}).logits - model({"image": IMAGES[:1]}).logits).abs().view(16, 16, 3).mean(2)
    assert moved[:4, 12:].mean() > 2 * torch.stack([moved[:4, :4], moved[12:, :4], moved[12:, 12:]]).mean()


@torch.no_grad()
def test_fitted_teacher_answers_as_its_part_over_stored_maps() -> None:
    from compress.models.student import over_features

    torch.manual_seed(0)
    model = fitted_teacher(spec(8), encoders={"image": {"model": "mobilenet_v2", "options": {"width": 0.25, "out": 40}}}, hidden=16).eval()
    stored = model.encoders["image"][0](IMAGES)
    assert torch.allclose(over_features(model)({"image": stored}, ROWS).logits, model({"image": IMAGES}, ROWS).logits, atol=1e-5)


def test_all_of_a_student_is_int8() -> None:
    torch.manual_seed(0)
    quantized = prepare(student(spec(16), encoders=SMALL, head_width=16).eval(), Quantize())
    calibrate(quantized, [({"image": IMAGES}, ROWS)])
    layers = [layer for name, layer in quantized_modules(quantized).items() if name.startswith("head.")]
    kinds = [sum(isinstance(layer, kind) for layer in layers) for kind in (QuantConvNorm, QuantSum, QuantLinear)]
    assert kinds == [5, 2, 1]  # 3 maps and 2 of the mix, 2 sums, the last layer
    frozen = freeze(quantized)
    with torch.no_grad():
        assert torch.isfinite(frozen({"image": IMAGES}, ROWS).logits).all()
