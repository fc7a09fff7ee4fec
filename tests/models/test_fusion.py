"""Every entry of FUSIONS: what it computes, that it is exported and quantized as it computes, and that TensorRT takes the file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.graphs.contract import check_tensorrt
from compress.graphs.retarget import retarget
from compress.graphs.trace import run_model
from compress.io_spec import PRESENT, IOSpec, Port
from compress.models.classifier import Classifier, Head
from compress.models.fusion import attention, bilinear
from compress.quantizers import calibrate, freeze, prepare, quantized_modules
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import clean, export_module, run_torch
from compress.tables import FUSIONS, resolve

CLASSES, HIDDEN, VALUES = 3, 8, 5
NAMES = ("image", "text", "numbers")
LINEAR = {"gated": 1, "bilinear": 3, "attention": 4}  # entry -> linear layers of its own over three modalities; 0 for the others
a, b = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]])  # (1, 2) each

# entry -> what it gives for a and b with weights that are set by hand below, or none
GOLDEN = {
    "product": [3.0, -1.0],  # 1 * 3, -2 * 0.5
    "concatenation": [1.0, -2.0, 3.0, 0.5],
    "sum": [4.0, -1.5],
    "weighted": [5.0, -0.25],  # shares softmax([0, ln 3]) = 1/4, 3/4, times 2: 0.5 * a + 1.5 * b
    "gated": [2.0, -0.75],  # all gates sigmoid(0) = 1/2
    "bilinear": [16.0, -3.0],  # one product, of 2 (a + 1) and b + 1: 4 * 4, -2 * 1.5
}


def ports(count: int) -> IOSpec:
    inputs = tuple(Port(name, "float32", (VALUES,)) for name in NAMES[:count])
    return IOSpec(inputs, (Port("logits", "float32", (CLASSES,)),))


def build(name: str, io: IOSpec) -> Classifier:
    """A linear layer in place of each encoder, which would be most of what is exported."""
    torch.manual_seed(0)
    fuse = resolve(FUSIONS[name])(len(io.inputs), HIDDEN)
    head = Head(dict.fromkeys(io.modalities, 8), hidden=HIDDEN, classes=CLASSES, fuse=fuse)
    return Classifier({m: nn.Linear(VALUES, 8) for m in io.modalities}, head).eval()


def draw(io: IOSpec, rows: int, *, seed: int = 0) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {m: torch.randn(rows, VALUES, generator=chance) for m in io.modalities}


def as_feeds(given: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {m: x.numpy() for m, x in given.items()}


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_fusion_computes_its_formula(name: str) -> None:
    fuse = resolve(FUSIONS[name])(2, 2, **({"rank": 1} if name == "bilinear" else {}))
    if name == "weighted":
        fuse.weights.copy_(torch.tensor([0.0, np.log(3)]))
    if name == "gated":
        fuse.gates.weight.zero_()
        fuse.gates.bias.zero_()
    if name == "bilinear":
        for factor, scale in zip(fuse.factors, (2.0, 1.0), strict=True):
            factor.weight.copy_(scale * torch.eye(2))
            factor.bias.fill_(scale)
    torch.testing.assert_close(fuse([a, b]), torch.tensor([GOLDEN[name]]))


@torch.no_grad()
def test_bilinear_sums_its_products() -> None:
    torch.manual_seed(0)
    fuse = bilinear(2, 2, rank=3)
    one, two = (factor(x).view(3, 2) for factor, x in zip(fuse.factors, (a, b), strict=True))
    torch.testing.assert_close(fuse([a, b])[0], sum(one[r] * two[r] for r in range(3)))


@torch.no_grad()
def test_attention_is_blind_to_the_order_of_its_tokens() -> None:
    torch.manual_seed(0)
    fuse = attention(2, 2, layers=2).eval()
    torch.testing.assert_close(fuse([a, b]), fuse([b, a]))


def test_every_other_entry_has_a_golden_value() -> None:
    assert {*GOLDEN, "attention"} == set(FUSIONS)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", FUSIONS)
def test_every_modality_moves_the_logits_and_every_weight_gets_a_gradient(name: str, count: int) -> None:
    io = ports(count)
    model, given = build(name, io), draw(io, 6)
    logits = model(given).logits
    assert logits.shape == (6, CLASSES)
    for m in io.modalities:
        other = model({**given, m: draw(io, 6, seed=1)[m]}).logits
        assert (other - logits).abs().max() > 1e-4, m
    logits.square().sum().backward()
    assert [place for place, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", FUSIONS)
@torch.no_grad()
def test_modalities_are_taken_by_name_and_not_by_order(name: str) -> None:
    io = ports(3)
    model, given = build(name, io), draw(io, 6)
    assert torch.equal(model(dict(reversed(given.items()))).logits, model(given).logits)


@pytest.mark.parametrize("name", FUSIONS)
def test_exported_graph_computes_what_torch_computes(name: str) -> None:
    io = ports(2)
    model, feeds = build(name, io), as_feeds(draw(io, 8))
    graph = clean(export_module(model, io, 20))
    assert [port.name for port in graph.graph.input] == ["image", "text"]
    np.testing.assert_allclose(run_model(graph, feeds)["logits"], run_torch(model, feeds), atol=1e-5)


@pytest.fixture(scope="module")
def frozen() -> Callable[[str], tuple[Classifier, onnx.ModelProto, IOSpec]]:
    """A student of three modalities in int8, frozen, with its graph; made once a fusion."""
    made: dict[str, tuple] = {}

    def make(name: str) -> tuple:
        if name not in made:
            io = ports(3)
            model = prepare(build(name, io), Quantize())
            calibrate(model, [(draw(io, 16, seed=seed), None) for seed in range(3)])
            model = freeze(model)
            made[name] = (model, clean(export_module(model, io, 20)), io)
        return made[name]

    return make


@pytest.mark.parametrize("name", FUSIONS)
def test_frozen_int8_student_is_exported_as_it_computes(name: str, frozen: Callable) -> None:
    model, graph, io = frozen(name)
    feeds = as_feeds(draw(io, 32, seed=9))
    expected, got = run_torch(model, feeds), run_model(graph, feeds, optimise=False)["logits"]
    difference = np.abs(got - expected)
    # sums in another order may push a value over the edge between two steps, so single rows may be off by about one step
    assert np.median(difference) < 1e-4 * np.abs(expected).max() and difference.max() < 0.05 * np.abs(expected).max()
    assert expected.std() > 1e-3


@pytest.mark.parametrize("name", FUSIONS)
def test_linear_layers_of_a_fusion_run_in_int8(name: str, frozen: Callable) -> None:
    model, graph, _ = frozen(name)
    own = [layer for place, layer in quantized_modules(model).items() if place.startswith("head.fuse.")]
    assert len(own) == LINEAR.get(name, 0)
    stored = {tuple(tensor.dims) for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert {tuple(layer.weight_quant.integers.shape) for layer in own} <= stored


@pytest.mark.parametrize("name", FUSIONS)
def test_tensorrt_takes_the_int8_file(name: str, frozen: Callable) -> None:
    _, graph, _ = frozen(name)
    assert check_tensorrt(retarget(graph, "tensorrt")) == []


def test_student_with_gaps_is_quantized_and_exported_as_it_computes() -> None:
    io = ports(3)
    io = IOSpec((*io.inputs, Port(PRESENT, "float32", (3,), 0, 1)), io.outputs)
    torch.manual_seed(0)
    head = Head(dict.fromkeys(NAMES, 8), hidden=HIDDEN, classes=CLASSES, fuse=resolve(FUSIONS["gated"])(3, HIDDEN), gaps=True)
    nn.init.normal_(head.absent)
    model = Classifier({**{m: nn.Linear(VALUES, 8) for m in NAMES}, PRESENT: nn.Identity()}, head).eval()

    def draw_gaps(rows: int, seed: int) -> dict[str, Tensor]:
        present = (torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed)) < 0.6).float()
        return {**{m: x for m, x in draw(io, rows, seed=seed).items() if m != PRESENT}, PRESENT: present}

    feeds = as_feeds(draw_gaps(32, 9))
    np.testing.assert_allclose(run_model(clean(export_module(model, io, 20)), feeds)["logits"], run_torch(model, feeds), atol=1e-5)
    model = prepare(model, Quantize())
    calibrate(model, [(draw_gaps(16, seed), None) for seed in range(3)])
    model = freeze(model)
    graph = clean(export_module(model, io, 20))
    expected, got = run_torch(model, feeds), run_model(graph, feeds, optimise=False)["logits"]
    assert np.median(np.abs(got - expected)) < 1e-4 * np.abs(expected).max()
    assert check_tensorrt(retarget(graph, "tensorrt")) == []


def test_calibration_takes_rows_that_all_have_everything() -> None:
    io = ports(2)
    io = IOSpec((*io.inputs, Port(PRESENT, "float32", (2,), 0, 1)), io.outputs)
    head = Head(dict.fromkeys(io.modalities[:2], 8), hidden=HIDDEN, classes=CLASSES, gaps=True)
    model = prepare(Classifier({**{m: nn.Linear(VALUES, 8) for m in io.modalities[:2]}, PRESENT: nn.Identity()}, head), Quantize())
    calibrate(model, [({**draw(ports(2), 16), PRESENT: torch.ones(16, 2)}, None)])
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@pytest.mark.parametrize(("options", "message"), [({"heads": 3}, "3 heads over student.head_width 8"), ({"layers": 0}, "0 layers")])
def test_attention_that_cannot_be_built_is_refused(options: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        attention(2, 8, **options)


def test_bilinear_without_a_rank_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"options.rank: must be at least 1, found 0"):
        bilinear(2, 8, rank=0)
