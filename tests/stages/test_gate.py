"""The gate on students that know their task and on nearly random ones: sound files pass, and each planted fault is caught at each hop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from compress.errors import CompressError, ParityError
from compress.graphs.diverge import Gap, compare_layers, reference_of
from compress.graphs.graph import Graph
from compress.graphs.half import to_float16
from compress.graphs.retarget import retarget
from compress.graphs.trace import Feeds, run_model
from compress.io_spec import IOSpec, Port
from compress.models.classifier import Classifier, Head, LinearHead
from compress.models.layers import ConvNorm, Pixels, Sum
from compress.models.text import TextEncoder
from compress.models.vision import CENTRE, SPREAD
from compress.quantizers import calibrate, freeze, prepare, qdq_opset
from compress.recipe.parity import Limits, Parity
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import clean, compare_quantizers, export_module, run_torch
from compress.stages.export.gate import Gate, judge, measure, widen
from compress.tasks.task import task

decisions = task("single_label").decisions
ROWS, PIXELS, TOKENS, VOCABULARY = 128, 16, 6, 23


@dataclass
class Hop:
    """A form that a graph must agree with: its logits, and its layers where they are known."""

    kind: str
    graph: onnx.ModelProto
    expected: np.ndarray
    feeds: Feeds
    layers: Callable[[onnx.ModelProto], list[Gap]] = lambda graph: []
    optimise: bool = True
    doubt: float = 0.0

    def check(self, graph: onnx.ModelProto) -> None:
        """Raises ParityError, or CompressError where the graph does not even run."""
        got = run_model(graph, self.feeds, optimise=self.optimise)["logits"]
        gate = Gate(Parity(), self.feeds, decisions=decisions)
        gate.compare("a", "b", self.expected, got, kind=self.kind, layers=lambda: self.layers(graph), doubt=self.doubt)  # type: ignore[arg-type]


def hops_of_graphs(float_graph: onnx.ModelProto, symmetric: onnx.ModelProto, feeds: Feeds) -> dict[str, Hop]:
    """What is made of a float graph, and of a symmetric int8 one."""
    few = {name: array[:16] for name, array in feeds.items()}
    plain = run_model(symmetric, feeds, optimise=False)["logits"]
    doubt = float(np.linalg.norm(run_model(symmetric, feeds)["logits"] - plain) / np.linalg.norm(plain))
    layers = partial(lambda known, graph: compare_layers(known, graph, few), reference_of(float_graph, few))
    hops = {"fp16": Hop("fp16", clean(to_float16(float_graph, feeds=few)), run_model(float_graph, feeds)["logits"], feeds, layers)}
    layers = partial(lambda known, graph: compare_layers(known, graph, few), reference_of(symmetric, few))
    for target in ("onnxruntime_x86", "onnxruntime_arm", "tensorrt"):
        hops[target] = Hop("int8", clean(retarget(symmetric, target)), plain, feeds, layers, target != "tensorrt", doubt)
    return hops


class ImageEncoder(nn.Module):
    """A few convolutions, one of them depthwise, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.sum = Pixels(CENTRE, SPREAD), Sum()
        self.stem, self.deep = ConvNorm(3, 8, kernel=3, stride=2), ConvNorm(8, 8, kernel=3, groups=8)
        self.project, self.last = ConvNorm(8, 8, relu=False), ConvNorm(8, 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.pixels(image))
        return self.last(self.sum(x, self.project(self.deep(x)))).mean((2, 3))


def draw(rows: int, classes: int, *, seed: int) -> tuple[Feeds, np.ndarray]:
    """Images whose left and right brightness, with one word of the text, tell the class."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, classes, rows)
    image = chance.integers(0, 60, (rows, PIXELS, PIXELS, 3))
    image[:, :, : PIXELS // 2] += (labels % 9 * 20)[:, None, None, None]
    image[:, :, PIXELS // 2 :] += (labels // 9 * 20)[:, None, None, None]
    text = chance.integers(1, VOCABULARY, (rows, TOKENS))
    text[:, 0] = 1 + labels % (VOCABULARY - 1)
    text[:, TOKENS - 1] = 0
    return {"image": image.astype(np.uint8), "text": text}, labels


@cache
def hops(classes: int, steps: int) -> dict[str, Hop]:
    """All hops of a student after `steps` steps of training: 60 teach it the task, 4 teach it nothing. One of two classes sees images alone."""
    torch.set_num_threads(1)
    torch.manual_seed(classes)
    ports = {"image": Port("image", "uint8", (PIXELS, PIXELS, 3)), "text": Port("text", "int64", (TOKENS,))}
    encoders: dict[str, nn.Module] = {"image": ImageEncoder()}
    head: nn.Module = LinearHead("image", 16, classes)
    if classes > 2:
        encoders["text"] = TextEncoder(vocabulary=VOCABULARY, length=TOKENS, width=16, layers=1, heads=2, feedforward=32)
        head = Head({"image": 16, "text": 16}, hidden=16, classes=classes)
    io = IOSpec(tuple(ports[m] for m in encoders), (Port("logits", "float32", (classes,)),))
    model = Classifier(encoders, head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2 if steps > 10 else 1e-5)
    for step in range(steps):
        feeds, labels = draw(64, classes, seed=step)
        loss = nn.functional.cross_entropy(model(torch_inputs(feeds)).logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    feeds, labels = draw(ROWS, classes, seed=1000)
    feeds = {m: feeds[m] for m in encoders}
    logits = run_torch(model, feeds)
    right = float((logits.argmax(1) == labels).mean())
    assert right > 0.9 if steps > 10 else right < 0.2 + 1 / classes
    fake = prepare(model, Quantize())
    calibrate(
        fake, [({m: x for m, x in torch_inputs(draw(64, classes, seed=seed)[0]).items() if m in encoders}, None) for seed in range(4)]
    )
    fake.eval()
    float_graph = clean(export_module(model, io, 20))
    with qdq_opset(20):
        symmetric = clean(export_module(freeze(fake), io, 20))
    few = {name: array[:16] for name, array in feeds.items()}
    made = hops_of_graphs(float_graph, symmetric, feeds)
    made["fp32"] = Hop("fp32", float_graph, logits, feeds)
    written = partial(lambda graph: compare_quantizers(fake, graph, few))
    made["as written"] = Hop("int8", symmetric, run_torch(fake, feeds), feeds, written, False, made["tensorrt"].doubt)
    return made


def torch_inputs(feeds: Feeds) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in feeds.items()}


STUDENTS = {"strong": (9, 60), "nearly random": (77, 4)}
HOPS = ("fp32", "fp16", "as written", "onnxruntime_x86", "onnxruntime_arm", "tensorrt")


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("student", [(9, 60), (2, 4), (77, 4)], ids=lambda s: f"{s[0]} classes, {s[1]} steps")
def test_sound_file_passes(student: tuple[int, int], hop: str) -> None:
    made = hops(*student)[hop]
    made.check(made.graph)


Edit = Callable[[Graph], None]


def redraw(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same layers with the entries of every weight and bias shuffled, scales of up to twice or half the size: another student."""
    chance, graph = np.random.default_rng(seed), Graph.copy_of(model)
    names = {name for _, *pair in weights(graph) for name in pair} | {n.input[1] for n in graph.proto.node if n.op_type == "QuantizeLinear"}
    for name in sorted(names):
        old = graph.value(name)
        if old.ndim:
            constant(graph, name, lambda x: chance.permutation(x.ravel()).reshape(x.shape))
        if old.dtype == np.float32:
            constant(graph, name, lambda x: x * np.float32(2 ** chance.uniform(-1, 1)))
    return graph.model


@pytest.mark.parametrize("hop", ["fp16", "onnxruntime_x86", "onnxruntime_arm", "tensorrt"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 77])
def test_sound_file_of_redrawn_weights_passes(classes: int, seed: int, hop: str) -> None:
    base = hops(classes, 4)
    made = redrawn(classes, seed)[hop]
    made.check(made.graph)
    assert not np.allclose(made.expected, base[hop].expected, rtol=0.1)


@cache
def redrawn(classes: int, seed: int) -> dict[str, Hop]:
    base = hops(classes, 4)
    return hops_of_graphs(redraw(base["fp32"].graph, seed), redraw(base["as written"].graph, seed), base["fp32"].feeds)


def constant(graph: Graph, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in graph.proto.initializer if t.name == name)
    old = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(old.copy())).astype(old.dtype), name))


def weights(graph: Graph) -> list[tuple[onnx.NodeProto, str, str]]:
    """(layer, name of its stored weight, name of what scales it), also behind DequantizeLinear and Transpose."""
    found = []
    for node in graph.proto.node:
        name = node.input[1] if node.op_type in ("Conv", "Gemm", "MatMul") else ""
        scale = ""
        while name and graph.value(name) is None and (maker := graph.producer(name)) is not None:
            if maker.op_type not in ("DequantizeLinear", "Transpose"):
                break
            scale = maker.input[1] if maker.op_type == "DequantizeLinear" else scale
            name = maker.input[0]
        if graph.value(name) is not None:
            found.append((node, name, scale or name))
    return found


def double_a_scale(graph: Graph) -> list[Edit]:
    return [lambda g, s=scale: constant(g, s, lambda x: x * 2) for _, _, scale in weights(graph)]


def swap_two_channels(graph: Graph) -> list[Edit]:
    edits: list[Edit] = []
    for node, name, _ in weights(graph):
        array = graph.value(name)
        axis = 0 if node.op_type == "Conv" or name == node.input[1] and node.op_type == "Gemm" else array.ndim - 1
        axis = 0 if array.shape[axis] < 2 else axis
        size = np.abs(array.astype(float)).sum(tuple(i for i in range(array.ndim) if i != axis))
        order = np.arange(len(size))
        order[[size.argmin(), size.argmax()]] = order[[size.argmax(), size.argmin()]]
        edits.append(lambda g, n=name, o=order, a=axis: constant(g, n, lambda x: np.take(x, o, a)))
    return edits


def drop_a_bias(graph: Graph) -> list[Edit]:
    edits: list[Edit] = []
    for node, _, _ in weights(graph):
        added = graph.sole_consumer(node.output[0])
        names = [*node.input[2:], *(added.input if added is not None and added.op_type == "Add" else [])]
        makers = [graph.producer(name, op_type="DequantizeLinear") for name in names]
        stored = [maker.input[0] if maker is not None else name for maker, name in zip(makers, names, strict=True)]
        edits += [lambda g, n=n: constant(g, n, np.zeros_like) for n in stored if graph.value(n) is not None and graph.value(n).ndim == 1]
    return edits


def lose_a_clip(graph: Graph) -> list[Edit]:
    def lose(g: Graph, name: str) -> None:
        node = g.producers[name]
        node.op_type = "Identity"
        del node.input[1:]

    return [lambda g, n=node.output[0]: lose(g, n) for node in graph.proto.node if node.op_type in ("Relu", "Clip")]


def transpose_a_weight(graph: Graph) -> list[Edit]:
    edits: list[Edit] = []
    for _, name, _ in weights(graph):
        shape = graph.value(name).shape
        if shape[0] == shape[1]:
            edits.append(lambda g, n=name: constant(g, n, lambda x: x.swapaxes(0, 1)))
        elif len(shape) == 4 and shape[2] > 1:
            edits.append(lambda g, n=name: constant(g, n, lambda x: x.swapaxes(2, 3)))
    return edits


def shift_a_zero_point(graph: Graph) -> list[Edit]:
    """Of one activation, quantizer and dequantizer alike: what is left is a range that ends elsewhere."""

    def shift(g: Graph, codes: str) -> None:
        old = next(node for node in g.proto.node if codes in (*node.input, *node.output) and node.op_type.endswith("Linear")).input[2]
        name = g.add_initializer(f"{old}_off", np.asarray(g.value(old) + 3, g.value(old).dtype))
        for node in g.proto.node:
            if node.op_type == "QuantizeLinear" and codes in node.output or node.op_type == "DequantizeLinear" and codes in node.input:
                node.input[2] = name

    quantizers = [n for n in graph.proto.node if n.op_type == "QuantizeLinear" and graph.value(n.input[0]) is None]
    return [lambda g, c=node.output[0]: shift(g, c) for node in quantizers]


FAULTS = [double_a_scale, swap_two_channels, drop_a_bias, lose_a_clip, transpose_a_weight, shift_a_zero_point]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("hop", [hop for hop in HOPS if hop != "onnxruntime_arm"])  # ARM's file is made as x86's is
@pytest.mark.parametrize("student", STUDENTS)
def test_planted_fault_is_caught(student: str, hop: str, fault: Callable[[Graph], list[Edit]]) -> None:
    made = hops(*STUDENTS[student])[hop]
    edits = fault(Graph(made.graph))
    if fault is shift_a_zero_point and hop in ("fp32", "fp16"):
        assert not edits  # a float file has none
        return
    for edit in [edits[0], edits[len(edits) // 2], edits[-1]]:
        faulty = Graph.copy_of(made.graph)
        edit(faulty)
        with pytest.raises(CompressError):
            made.check(faulty.model)


def test_difference_of_logits_golden_numbers() -> None:
    e = np.array([[2.0, 0.0], [-2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    # m = sqrt(16 / 8) = sqrt 2; D is 0.5 of the first class and 0.1 for the second one
    found = measure(e, e * [1.5, 1] + [0, 0.1], Limits(distance=1e-3, bias=1, gain=1e-2), decisions=decisions)
    assert found["distance"] == pytest.approx(((4 * 1 + 4 * 0.01) / 8) ** 0.5 / 2**0.5)
    assert found["bias"] == pytest.approx(0.1 / 2**0.5)  # the first class errs up and down: its mean is right
    assert found["gain"] == pytest.approx(0.5)  # class 2 does not vary and has no slope
    assert (found["sure_rows"], found["agreement"]) == (4, None)  # fewer than 30


def test_gain_is_not_asked_where_noise_within_the_limit_could_move_it() -> None:
    chance = np.random.default_rng(0)
    e = np.array([10.0, 12.0]) + 0.01 * chance.standard_normal((64, 2))  # a nearly random student: one answer for all
    limits = Limits(distance=0.01, bias=0.01, gain=0.03)
    assert measure(e, e + 0.003 * chance.standard_normal((64, 2)), limits, decisions=decisions)["gain"] is None
    assert measure(1000 * (e - [10, 12]), 1000 * (e - [10, 12]), limits, decisions=decisions)["gain"] == pytest.approx(0)


def test_row_is_sure_by_the_limit_and_not_by_the_difference_that_was_measured() -> None:
    e = np.tile([[1.0, 0.0], [1.0, 0.95]], (40, 1))
    got = e.copy()
    got[:, 1] = np.where(e[:, 1] == 0.95, 1.01, 0.0)  # every row that is near a tie changes its answer
    limits = Limits(distance=0.1, bias=0.1, gain=0.1)
    # m = sqrt((2 + 0.95^2) / 4) = 0.852: sure above 0.17, which is half of the rows
    found = measure(e, got, limits, decisions=decisions)
    assert (found["sure_rows"], found["agreement"]) == (40, 1.0)
    assert judge(found, limits, min_agreement=0.995) == []


def test_one_row_of_110_that_changes_its_answer_near_a_tie_passes() -> None:
    chance = np.random.default_rng(0)
    e = chance.standard_normal((110, 5)).astype(np.float32) * 3
    e[7] = [1, 1.0001, 0, 0, 0]
    got = e.astype(np.float16).astype(np.float32)
    assert got[7].argmax() != e[7].argmax()
    Gate(Parity(), {"text": e}, decisions=decisions).compare("fp32", "fp16", e, got, kind="fp16")


def test_sure_rows_must_keep_their_answer() -> None:
    e = np.tile([[3.0, 0.0, 0.0]], (200, 1)) + np.random.default_rng(0).standard_normal((200, 3)) / 10
    got = e.copy()
    got[:2] = got[:2, [1, 0, 2]]
    with pytest.raises(ParityError, match=r"the answer stays on 99\.00 % of 200 sure rows \(at least 99\.5 %\)"):
        Gate(Parity(), {"text": e}, decisions=decisions).compare("a", "b", e, got, kind="int8")


def test_few_sure_rows_leave_the_word_to_distance_and_bias() -> None:
    e = np.random.default_rng(0).standard_normal((20, 3))
    gate = Gate(Parity(), {"text": e}, decisions=decisions)
    gate.compare("a", "b", e, e, kind="fp16")
    assert gate.records[0]["agreement"] is None
    with pytest.raises(ParityError, match=r"the answers have no say, \d+ of them are sure; a class is off by 5\.55e-02 of"):
        gate.compare("a", "b", e, e + [0.05, 0, 0], kind="fp16")
    assert [record["passed"] for record in gate.records] == [True, False]


def test_one_vector_that_turns_is_caught_by_its_cosine() -> None:
    e = np.random.default_rng(0).standard_normal((256, 8))
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    got = e.copy()
    got[7] = -e[7]  # too little for the distance of all: 2 / sqrt 256 = 0.125 of 0.3
    Gate(Parity(), {"text": e}, decisions=lambda logits: (np.zeros(0), np.zeros(0, bool))).compare("a", "b", e, got, kind="int8")
    gate = Gate(Parity(), {"text": e}, decisions=lambda logits: (np.zeros(0), np.zeros(0, bool)), unit=True)
    with pytest.raises(ParityError, match=r"a row's vector has turned to a cosine of -1\.000000 \(at least 0\.595000\)"):
        gate.compare("a", "b", e, got, kind="int8")
    gate.compare("a", "b", e, e, kind="int8")
    assert [record["cosine"] for record in gate.records] == pytest.approx([-1, 1])


def test_answers_that_are_not_finite_are_refused() -> None:
    e = np.ones((4, 2))
    with pytest.raises(ParityError, match="not finite"):
        Gate(Parity(), {"text": e}, decisions=decisions).compare("a", "b", e, np.full((4, 2), np.nan), kind="int8")


def test_students_own_doubt_widens_the_distance_and_narrows_with_rows() -> None:
    limits = Limits(distance=0.3, bias=0.1, gain=0.15)
    assert widen(limits, 0.05, rows=256) == limits
    # three times 0.4 apart; over 256 rows four standard errors of that, 4 * 1.2 / 16
    assert widen(limits, 0.4, rows=256).model_dump() == pytest.approx({"distance": 1.2, "bias": 0.3, "gain": 0.15})
