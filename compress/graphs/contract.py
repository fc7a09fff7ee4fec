"""What TensorRT's ONNX parser accepts, checked before TensorRT sees the file, with the node's name and a way out.

Some rows are errors of the parser with poor messages; others parse and then compute something else (uint8 codes above
127 saturate in silence), and only this check catches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from compress.errors import EngineError
from compress.graphs.graph import Graph, attribute

INPUT_TYPES = ("FLOAT", "FLOAT16", "UINT8", "INT32", "INT64", "BOOL")
OUTPUT_TYPES = ("FLOAT", "FLOAT16", "INT32", "INT64", "BOOL")
INTEGER_OPS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
SYMMETRIC = "Retarget the symmetric int8 model to 'tensorrt' instead of shipping the ONNX Runtime file."


@dataclass(frozen=True)
class Violation:
    """One thing that TensorRT refuses or would compute differently."""

    node: str  # node name, or the name of the input or output
    problem: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.node}: {self.problem}. {self.way_out}"


def check_tensorrt(model: onnx.ModelProto) -> list[Violation]:
    """Every violation in graph order; empty: the parser takes the file and keeps int8."""
    graph = Graph(model)
    found = list(_check_ports(graph))
    for node in graph.proto.node:
        found.extend(_check_operator(node))
        if node.op_type in CHECKS and node.domain in ("", "ai.onnx"):
            found.extend(CHECKS[node.op_type](graph, node))
    return found


def require_tensorrt(model: onnx.ModelProto, *, name: str = "model") -> None:
    """Raises EngineError with all violations, one a line, if there are any."""
    if found := check_tensorrt(model):
        lines = "\n".join(f"  {violation}" for violation in found)
        raise EngineError(f"{name}: {len(found)} violations of TensorRT's contract:\n{lines}")


def node_label(node: onnx.NodeProto) -> str:
    """The node's name, or its type and first output where it has none."""
    return node.name or f"{node.op_type}({node.output[0]})"


def _check_ports(graph: Graph) -> Iterator[Violation]:
    constants = {tensor.name for tensor in graph.proto.initializer}
    inputs = [port for port in graph.proto.input if port.name not in constants]
    for kind, ports, allowed in (("input", inputs, INPUT_TYPES), ("output", graph.proto.output, OUTPUT_TYPES)):
        for port in ports:
            dtype = onnx.TensorProto.DataType.Name(port.type.tensor_type.elem_type)
            if dtype not in allowed:
                yield Violation(port.name, f"{kind} of type {dtype}", f"Cast it in the graph: allowed are {', '.join(allowed)}.")


def _check_operator(node: onnx.NodeProto) -> Iterator[Violation]:
    if node.domain not in ("", "ai.onnx"):
        problem = f"operator {node.domain}::{node.op_type} is not ONNX's own"
        yield Violation(node_label(node), problem, "Start from the file before ONNX Runtime's optimisation.")
    elif node.op_type in INTEGER_OPS:
        yield Violation(node_label(node), f"operator {node.op_type}", "Use QuantizeLinear/DequantizeLinear pairs around float operators.")


def _check_zero_point(graph: Graph, node: onnx.NodeProto, *, stored: bool) -> Iterator[Violation]:
    label, what = node_label(node), "weights" if stored else "activations"
    if len(node.input) < 3 or not node.input[2]:
        yield Violation(label, "zero point missing, which means uint8", "Give it an int8 zero point of 0.")
        return
    zero = graph.input_value(node, 2)
    if zero is None:
        yield Violation(label, "zero point is computed", "Make it an int8 initialiser of 0.")
    elif zero.dtype == np.int32:
        yield Violation(label, "int32 bias behind DequantizeLinear", "Keep the bias in float32.")
    elif zero.dtype != np.int8:
        silent = ": codes above 127 would saturate in silence" if zero.dtype == np.uint8 and not stored else ""
        yield Violation(label, f"{zero.dtype} {what}{silent}", SYMMETRIC)
    if zero is not None and np.any(zero != 0):
        yield Violation(label, f"zero point {int(np.ravel(zero)[0])}, not 0", SYMMETRIC)


def _check_scale(graph: Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    scale = graph.input_value(node, 1)
    if scale is None:
        yield Violation(node_label(node), "scale is computed", "Freeze the observers, so that the scale is an initialiser.")
    elif not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        bad = float(np.ravel(scale)[np.argmax(~(np.ravel(scale) > 0) | ~np.isfinite(np.ravel(scale)))])
        yield Violation(node_label(node), f"scale {bad} is not a positive number", "Calibrate on inputs that are not constant.")


def _check_quantize(graph: Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    stored = graph.value(node.input[0]) is not None
    yield from _check_zero_point(graph, node, stored=stored)
    yield from _check_scale(graph, node)
    scale = graph.input_value(node, 1)
    if not stored and scale is not None and scale.size > 1:
        yield Violation(
            node_label(node), f"{scale.size} scales for one activation", "Quantize activations per tensor, weights per channel."
        )
    readers = [reader for reader in graph.consumers(node.output[0]) if reader.op_type != "DequantizeLinear"]
    if readers:
        yield Violation(node_label(node), f"its codes go to {readers[0].op_type}", "Let a DequantizeLinear read them directly.")


def _check_dequantize(graph: Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    maker = graph.producer(node.input[0], op_type="QuantizeLinear")
    stored = graph.value(node.input[0]) is not None or (maker is not None and graph.value(maker.input[0]) is not None)
    yield from _check_zero_point(graph, node, stored=stored)
    yield from _check_scale(graph, node)
    scale = graph.input_value(node, 1)
    if scale is None or scale.size == 1:
        return
    if not stored:
        if graph.producer(node.input[0], op_type="Gather") is None:  # a quantized embedding table is per column, and legal
            yield Violation(node_label(node), f"{scale.size} scales for one activation", "Quantize activations per tensor.")
        return
    for reader, index, axis in weight_readers(graph, node):
        right = channel_axis(graph, reader, index)
        if right is not None and axis != right:
            problem = f"weight of {node_label(reader)} is per channel on axis {axis}, its output channels are axis {right}"
            yield Violation(node_label(node), problem, f"Quantize it on axis {right}.")


def weight_readers(graph: Graph, dequantize: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, int, int]]:
    """(node, input index, channel axis as that node sees it) for each reader of a weight, through one Transpose."""
    array = graph.value(dequantize.input[0])
    axis = attribute(dequantize, "axis", 1)
    rank = array.ndim if array is not None else None
    axis = axis + rank if rank and axis < 0 else axis
    for reader in graph.consumers(dequantize.output[0]):
        if reader.op_type == "Transpose":
            order = attribute(reader, "perm", list(range(rank or 2))[::-1])
            for far in graph.consumers(reader.output[0]):
                yield far, list(far.input).index(reader.output[0]), list(order).index(axis)
        else:
            yield reader, list(reader.input).index(dequantize.output[0]), axis


def channel_axis(graph: Graph, node: onnx.NodeProto, index: int) -> int | None:
    """The axis of output channels of input `index` (a weight); None where the node has no such axis."""
    if index != 1:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if node.op_type == "MatMul":
        return _rank(graph, node.input[1]) - 1
    return None


def _rank(graph: Graph, tensor: str) -> int:
    """The rank of a weight behind Transpose and DequantizeLinear; 2 where it is not stored."""
    while (array := graph.value(tensor)) is None:
        maker = graph.producer(tensor)
        if maker is None or maker.op_type not in ("Transpose", "DequantizeLinear", "QuantizeLinear"):
            return 2
        tensor = maker.input[0]
    return array.ndim


CHECKS: dict[str, Callable[[Graph, onnx.NodeProto], Iterator[Violation]]] = {
    "QuantizeLinear": _check_quantize,
    "DequantizeLinear": _check_dequantize,
}
