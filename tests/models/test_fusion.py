"""Every entry of FUSIONS: what it computes, that it is exported and quantized as it computes, and that TensorRT takes the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fusions import CLASSES, HIDDEN, NAMES, VALUES, as_feeds, build, draw, ports
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.graphs.contract import check_tensorrt
from compress.graphs.coverage import NOT_QUANTIZED, int8_coverage
from compress.graphs.retarget import retarget
from compress.graphs.split import split_by_input
from compress.graphs.trace import run_model
from compress.io_spec import PRESENT, IOSpec, Port
from compress.models.classifier import Classifier, Head
from compress.models.fusion import TokenFusion, attention, bilinear, bottleneck, cross_attention
from compress.models.tokens import Tokens
from compress.quantizers import calibrate, freeze, prepare, quantized_modules
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import clean, export_module, run_torch
from compress.tables import FUSIONS, resolve

LINEAR = {
    "gated": 1,
    "bilinear": 3,
    "attention": 4,
    "cross_attention": 4,
    "bottleneck": 8,
}  # entry -> linear layers of its own over three modalities; 0 for the others
a, b = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]])  # (1, 2) each

# entry -> what it gives for a and b with weights that are set by hand below, or none
GOLDEN = {
    "product": [3.0, -1.0],  # 1 * 3, -2 * 0.5
    "concatenation": [1.0, -2.0, 3.0, 0.5],
    "concatenation_product": [1.0, -2.0, 3.0, 0.5, 3.0, -1.0],
    "sum": [4.0, -1.5],
    "weighted": [5.0, -0.25],  # shares softmax([0, ln 3]) = 1/4, 3/4, times 2: 0.5 * a + 1.5 * b
    "gated": [2.0, -0.75],  # all gates sigmoid(0) = 1/2
    "bilinear": [16.0, -3.0],  # one product, of 2 (a + 1) and b + 1: 4 * 4, -2 * 1.5
}


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


TOKENS = {"cross_attention": cross_attention, "bottleneck": bottleneck}


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [
        (cross_attention(2, 2, lengths=(2, 1)), ["001", "001", "110"]),  # those of the other modality
        (bottleneck(2, 2, lengths=(2, 1), tokens=1), ["1111", "1110", "1110", "1001"]),  # the bottleneck first; own, and the bottleneck
    ],
)
def test_tokens_read_whom_they_may(fuse: TokenFusion, expected: list[str]) -> None:
    assert ["".join(str(int(seen)) for seen in row) for row in fuse.blocked[0, 0] == 0] == expected


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_fusion_of_tokens_is_that_of_one_token_after_the_other(name: str) -> None:
    """Against loops over the tokens that each may read, of which the second row's first text token is not there."""
    torch.manual_seed(0)
    fuse: Any = TOKENS[name](2, 4, lengths=(3, 2), heads=2).eval()
    image, text, there = torch.randn(2, 3, 4), torch.randn(2, 2, 4), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    found = fuse([Tokens(image), Tokens(text, there)])
    for row in range(2):
        mine = [*image[row], *text[row]]
        owner, alive = [0, 0, 0, 1, 1], [True, True, True, *(there[row] > 0).tolist()]
        shared = len(fuse.places) - len(mine)
        states = [place + (mine[i - shared] if i >= shared else 0) for i, place in enumerate(fuse.places)]
        owner, alive = [-1] * shared + owner, [True] * shared + alive
        for layer in fuse.layers:
            query, key, value = (part.view(-1, 2, 2) for part in layer.attention.inputs(torch.stack(states)).chunk(3, 1))
            after = []
            for i, state in enumerate(states):
                if name == "cross_attention":
                    read = [j for j in range(len(states)) if owner[j] != owner[i] and alive[j]]
                else:
                    read = [j for j in range(len(states)) if (owner[j] == owner[i] or -1 in (owner[i], owner[j])) and alive[j]]
                heads = [(key[read, h] @ query[i, h] / 2**0.5).softmax(0) @ value[read, h] for h in range(2)]
                x = layer.attention_norm(state + layer.attention.output(torch.cat(heads)))
                after.append(layer.output_norm(x + layer.project(torch.nn.functional.gelu(layer.expand(x)))))
            states = after
        means = [torch.stack([x for x, o, a in zip(states, owner, alive, strict=True) if o == m and a]).mean(0) for m in range(2)]
        torch.testing.assert_close(found[row], (means[0] + means[1]) / 2)


def test_every_other_entry_has_a_golden_value() -> None:
    assert {*GOLDEN, *TOKENS, "attention"} == set(FUSIONS)


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


def test_only_products_between_tokens_stay_in_float_and_are_named_so(frozen: Callable) -> None:
    model, graph, _ = frozen("cross_attention")
    found = int8_coverage(retarget(graph, "onnxruntime_x86"))
    left = [node for node in found.nodes if not node.int8]
    # query by key, weights by value, and the means over the tokens that are there: in the fusion of those two inputs that have several
    assert [(node.op_type, node.reason) for node in left] == [("MatMul", NOT_QUANTIZED)] * 4
    assert len(found.nodes) - len(left) == len(quantized_modules(model))


def test_each_inputs_part_of_a_fusion_of_tokens_can_be_computed_once(frozen: Callable) -> None:
    _, graph, io = frozen("cross_attention")
    feeds = as_feeds(draw(io, 6, seed=3))
    parts = split_by_input(graph)
    assert parts and {*parts.alone} == {*io.modalities}
    between = {name: value for m, part in parts.alone.items() for name, value in run_model(part, {m: feeds[m]}).items()}
    left = {port.name: feeds[port.name] for port in parts.joint.graph.input if port.name in feeds}
    assert all(len(value) == 6 for value in between.values())
    np.testing.assert_allclose(run_model(parts.joint, {**between, **left})["logits"], run_model(graph, feeds)["logits"], atol=1e-5)


def with_gaps(name: str) -> tuple[Classifier, IOSpec]:
    io = ports(3)
    io = IOSpec((*io.inputs, Port(PRESENT, "float32", (3,), 0, 1)), io.outputs)
    model = build(name, io)
    nn.init.normal_(model.head.absent)
    return model, io


def draw_gaps(io: IOSpec, rows: int, seed: int) -> dict[str, Tensor]:
    present = (torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed)) < 0.6).float()
    return {**{m: x for m, x in draw(io, rows, seed=seed).items() if m != PRESENT}, PRESENT: present}


@pytest.mark.parametrize("name", FUSIONS)
@torch.no_grad()
def test_what_stands_behind_a_missing_input_changes_nothing(name: str) -> None:
    model, io = with_gaps(name)
    given, other = draw_gaps(io, 40, 0), draw(io, 40, seed=5)
    logits = model(given).logits
    for index, m in enumerate(NAMES):
        changed = model({**given, m: other[m]}).logits  # with other tokens there, too
        there = given[PRESENT][:, index] > 0
        assert torch.equal(changed[~there], logits[~there]), m
        assert (changed[there] != logits[there]).any(1).all(), m


@pytest.mark.parametrize("name", ["gated", "cross_attention"])
def test_student_with_gaps_is_quantized_and_exported_as_it_computes(name: str) -> None:
    model, io = with_gaps(name)
    feeds = as_feeds(draw_gaps(io, 32, 9))
    np.testing.assert_allclose(run_model(clean(export_module(model, io, 20)), feeds)["logits"], run_torch(model, feeds), atol=1e-5)
    model = prepare(model, Quantize())
    calibrate(model, [(draw_gaps(io, 16, seed), None) for seed in range(3)])
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


@pytest.mark.parametrize("options", [{"tokens": 0}, {"layers": 1}])
def test_bottleneck_that_nothing_passes_is_refused(options: dict) -> None:
    with pytest.raises(RecipeError, match="what is written in one is read in the next"):
        bottleneck(2, 8, lengths=(2, 2), **options)


def test_bilinear_without_a_rank_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"options.rank: must be at least 1, found 0"):
        bilinear(2, 8, rank=0)
