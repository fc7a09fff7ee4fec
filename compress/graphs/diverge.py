"""Compares two ONNX graphs of one model layer by layer on real inputs; every layer reads the reference's own values.

So rounding does not add up on the way: what a layer is off by is its own doing, in a student that knows its task and in a random one.
Also the distances of whole outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from compress.errors import ParityError
from compress.graphs.contract import node_label
from compress.graphs.graph import Graph
from compress.graphs.retarget import LAYOUT
from compress.graphs.trace import Feeds, load_model, run_model, trace

FLOAT16_MAX = 65504.0  # values beyond it are masks, and mask as well at any size
GRID_SLACK = 0.25  # int8 steps by which the end of a grid may lie elsewhere
FLIPS = 3  # codes that sums in another order may push over an edge in a tensor of any size


@dataclass(frozen=True)
class Grid:
    """What int8 codes stand for: multiples of `step` from `low` to `high`."""

    step: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g} in steps of {self.step:.4g}"


@dataclass(frozen=True)
class Reference:
    """What the tensors of another graph should be, by their names there; `grids`: of those that come out of a quantizer."""

    values: Feeds
    grids: dict[str, Grid] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """How far one tensor is off when the nodes that make it read the reference's values."""

    node: str
    op_type: str
    tensor: str
    off: float | None  # ||other - reference|| / ||reference||; of int8 codes the share that differs; None where a finer grid made them
    steps: float | None  # the largest difference in int8 steps; None where no quantizer made the tensor
    wrong_grid: str  # in words; "" where the codes reach as far as the reference's

    def fault(self, *, layer: float, steps: float) -> str | None:
        """What is wrong with the tensor, in words, or None; `layer` is the most that it may be off by."""
        place = f"{self.node} ({self.op_type})"
        if self.wrong_grid:
            return f"{place}: {self.wrong_grid}"
        if self.steps is not None and not self.steps <= steps:
            return f"{place}: off by {self.steps:.3g} int8 steps (at most {steps:g}) when it reads the right values"
        if self.off is not None and not self.off <= layer:
            what = "of its size" if self.steps is None else "of its codes"
            return f"{place}: off by {self.off:.2e} {what} (at most {layer:g}) when it reads the right values"
        return None


def reference_of(graph: onnx.ModelProto | Path, feeds: Feeds) -> Reference:
    """The computed float tensors of a graph as it is written, by name."""
    model = Graph(load_model(graph))
    names = [n for n, node in model.producers.items() if node.op_type != "QuantizeLinear" and model.value(n) is None]
    values = {name: value for name, value in trace(model.model, feeds, tensors=names).items() if value.dtype.kind == "f"}
    return Reference(values, {name: grid for name in values if (grid := _grid(model, name)) is not None})


def by_order(values: list[tuple[np.ndarray, Grid]], other: onnx.ModelProto) -> Reference | None:
    """What a model's activation quantizers gave, in the order of their calls, as values of the graph that was exported from it.

    None where the graph does not hold as many quantizers.
    """
    graph = Graph(other)
    quantizers = graph.quantizers()
    if len(quantizers) != len(values):
        return None
    readers = [[n.output[0] for n in graph.consumers(q.output[0]) if n.op_type == "DequantizeLinear"] for q in quantizers]
    found = {name: pair for names, pair in zip(readers, values, strict=True) for name in names}
    return Reference({name: value for name, (value, _) in found.items()}, {name: grid for name, (_, grid) in found.items()})


def off_centre(graph: onnx.ModelProto) -> list[Gap]:
    """A gap for each quantizer or dequantizer whose zero point is not 0, as it is everywhere in symmetric int8."""
    view, wrong = Graph(graph), []
    for node in view.proto.node:
        zero = view.input_value(node, 2) if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None
        if zero is not None and np.any(zero):
            said = f"its zero point is {int(np.ravel(zero)[np.flatnonzero(zero)[0]])}, not 0"
            wrong.append(Gap(node_label(node), node.op_type, node.output[0], None, None, said))
    return wrong


def compare_layers(reference: Reference, other: onnx.ModelProto | Path, feeds: Feeds) -> list[Gap]:
    """One gap for each tensor that the reference knows, in the order of the other graph; all of it runs as written, once.

    Shapes: feeds and the reference's values have the same rows. Raises CompressError where the graph does not run.
    """
    graph = Graph(load_model(other))
    names = [name for name in graph.producers if name in reference.values]
    types = {n: v.dtype for n, v in trace(graph.model, {m: x[:1] for m, x in feeds.items()}, tensors=names).items() if v.dtype.kind == "f"}
    cut = Graph.copy_of(graph.model)
    for name, dtype in types.items():
        value, given = reference.values[name], f"{name}|given"
        cut.replace_uses(name, given)
        shape = [f"{given}{axis}" for axis in range(value.ndim)]
        cut.proto.input.append(onnx.helper.make_tensor_value_info(given, onnx.helper.np_dtype_to_tensor_dtype(dtype), shape))
        if name not in cut.output_names:
            cut.proto.output.append(onnx.ValueInfoProto(name=name))
    del cut.proto.value_info[:]
    read = {name for node in cut.proto.node for name in node.input}
    ports = [port for port in cut.proto.input if port.name in read]
    del cut.proto.input[:]
    cut.proto.input.extend(ports)
    given_values = {f"{name}|given": _within_float16(reference.values[name]).astype(dtype) for name, dtype in types.items()}
    got = run_model(cut.model, {name: value for name, value in (feeds | given_values).items() if name in read}, optimise=False)
    return list(_gaps(reference, graph, {name: got[name] for name in types}))


def _gaps(reference: Reference, graph: Graph, got: Feeds) -> Iterator[Gap]:
    for name, value in got.items():
        a, b = _within_float16(reference.values[name]), _within_float16(value)
        ours, theirs = reference.grids.get(name), _grid(graph, name, stored=False)
        node, steps, off = graph.producers[name], None, None
        if ours is None or theirs is None or a.shape != b.shape:
            size = float(np.linalg.norm(a.astype(np.float64)))
            off = max(0.0, relative_difference(a, b) - _bias_rounding(graph, node) * a.size**0.5 / max(size, 1e-12))
        else:
            apart = np.abs(b - a.astype(np.float64)) / ours.step
            steps = float(apart.max(initial=0.0))
            if np.isclose(ours.step, theirs.step):
                off = max(0, int(np.count_nonzero(~(apart < 0.5))) - FLIPS) / max(apart.size, 1)
        quantizer = graph.producer(node.input[0], op_type="QuantizeLinear")
        bound = float("inf") if quantizer is None else _upper_bound(graph, quantizer.input[0])
        wrong = _compare_grids(ours, theirs, bound=bound) if ours and theirs else ""
        at = _computing(graph, node)
        yield Gap(node_label(at), at.op_type, name, off, steps, wrong)


def _computing(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto:
    """The node itself, or what a Cast reads from: a float16 graph casts back at its outputs, and the fault is not the Cast's."""
    while node.op_type == "Cast" and (before := graph.producer(node.input[0])) is not None:
        node = before
    return node


def _grid(graph: Graph, tensor: str, *, stored: bool = True) -> Grid | None:
    """The grid of a dequantized activation; with `stored` off also of one whose codes are the graph's input, such as pixels."""
    node = graph.producer(tensor, op_type="DequantizeLinear")
    if node is None or graph.value(node.input[0]) is not None:
        return None
    if stored and graph.producer(node.input[0], op_type="QuantizeLinear") is None:
        return None
    scale, zero = graph.input_value(node, 1), graph.input_value(node, 2)
    if scale is None or scale.size != 1:
        return None
    limits = np.iinfo(np.uint8 if zero is None else zero.dtype)
    shift = 0 if zero is None else int(np.ravel(zero)[0])
    step = float(np.ravel(scale)[0])
    return Grid(step, (limits.min - shift) * step, (limits.max - shift) * step)


def _bias_rounding(graph: Graph, node: onnx.NodeProto) -> float:
    """Half a step of an int32 bias: what rounding it may add to each output of the layer; 0 for any other node."""
    maker = graph.producer(node.input[2], op_type="DequantizeLinear") if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 else None
    scale = graph.input_value(maker, 1) if maker is not None else None
    return 0.0 if scale is None else 0.5 * float(np.max(scale))


def _upper_bound(graph: Graph, tensor: str) -> float:
    """The largest value that a tensor can hold, where a Clip or a grid before it says so, also through layout and pooling."""
    node = graph.producer(tensor)
    while node is not None and node.op_type in LAYOUT:
        tensor = node.input[0]
        node = graph.producer(tensor)
    clip = graph.input_value(node, 2) if node is not None and node.op_type == "Clip" else None
    if clip is not None:
        return float(clip)
    grid = _grid(graph, tensor)
    return float("inf") if grid is None else grid.high


def _compare_grids(ours: Grid, theirs: Grid, *, bound: float) -> str:
    """Says so where the codes do not reach as far: to the same ends, or from 0 up where nothing is below."""
    slack = GRID_SLACK * ours.step
    needed = min(ours.high, bound)
    high = abs(theirs.high - needed) <= slack or abs(theirs.high - ours.high) <= slack
    high = high or (bool(np.isclose(ours.step, theirs.step)) and theirs.high >= needed)
    low = abs(theirs.low - ours.low) <= slack or abs(theirs.low) <= slack
    return "" if high and low else f"its int8 codes stand for {theirs}, not for {ours}"


def _within_float16(array: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(array, -FLOAT16_MAX, FLOAT16_MAX))  # an array also where it has no axes


def compare_outputs(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Distances of two logit arrays of one shape (rows, K); `agreement` is the share of rows with the same argmax.

    `relative` is ||other - reference|| / ||reference||.

    Raises:
        ParityError: shapes differ, or a value is not finite.
    """
    if reference.shape != other.shape:
        raise ParityError(f"outputs: shapes {reference.shape} and {other.shape} differ. Compare the same rows.")
    for name, array in (("reference", reference), ("other", other)):
        if not np.all(np.isfinite(array)):
            raise ParityError(f"outputs: {int((~np.isfinite(array)).sum())} values of {name} are not finite. Look for an overflow.")
    gap = np.abs(other.astype(np.float64) - reference)
    agreement = np.mean(reference.argmax(-1) == other.argmax(-1)) if reference.ndim and reference.size else 1.0
    return {
        "max_difference": float(gap.max(initial=0.0)),
        "relative": relative_difference(reference, other),
        "mean_difference": float(gap.mean()) if gap.size else 0.0,
        "agreement": float(agreement),
    }


def relative_difference(reference: np.ndarray, other: np.ndarray) -> float:
    """||other - reference|| / ||reference||; infinite where shapes differ or a value is not finite on one side alone."""
    if reference.shape != other.shape:
        return float("inf")
    a, b = reference.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    gap = float(np.linalg.norm(np.where(same, 0.0, b - a)))
    return gap / max(float(np.linalg.norm(a)), 1e-12) if np.isfinite(gap) else float("inf")
