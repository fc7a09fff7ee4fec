"""Which multiply-adds really run in int8 once ONNX Runtime has optimised the file, and why the others stay in float."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from compress.graphs.contract import node_label
from compress.graphs.graph import Graph, attribute
from compress.graphs.linear import own_weights
from compress.graphs.trace import Feeds, cpu_options, load_model, open_cpu, trace

# Operators that multiply, with the input that holds the second factor (the weight); they stand in files as exported.
COMPUTE = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "FusedConv": 1, "FusedMatMul": 1, "FusedGemm": 1, "MatMulNBits": 1}
INT8_COMPUTE = {
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QAttention": 1,
}
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSwish", "Gelu")
NOT_QUANTIZED = "not quantized in the file"


@dataclass(frozen=True)
class ComputeNode:
    """One multiplying node of the file, and what became of it."""

    name: str
    op_type: str  # in the file
    runs_as: str  # operator after optimisation
    int8: bool
    multiply_adds: int  # at batch 1
    reason: str  # why it is float; "" for int8


@dataclass(frozen=True)
class Coverage:
    """The int8 share of one file; multiply-adds are at batch 1."""

    nodes: tuple[ComputeNode, ...]
    operators: dict[str, int]  # operator -> count after optimisation
    leftover_pairs: int  # DequantizeLinear nodes still there whose codes a QuantizeLinear or int8 operator made

    @property
    def int8_multiply_adds(self) -> int:
        """Multiply-adds of the nodes that run in int8."""
        return sum(node.multiply_adds for node in self.nodes if node.int8)

    @property
    def multiply_adds(self) -> int:
        """All multiply-adds of the file."""
        return sum(node.multiply_adds for node in self.nodes)

    @property
    def share(self) -> float:
        """int8 multiply-adds over all multiply-adds; 0 where nothing multiplies."""
        return self.int8_multiply_adds / self.multiply_adds if self.multiply_adds else 0.0

    def to_json(self) -> dict:
        """Plain data for the report."""
        totals = {"share": self.share, "int8_multiply_adds": self.int8_multiply_adds, "multiply_adds": self.multiply_adds}
        return {**totals, **asdict(self), "nodes": [asdict(node) for node in self.nodes]}


def int8_coverage(path: Path | str | onnx.ModelProto, *, threads: int = 1) -> Coverage:
    """The coverage of the file as ONNX Runtime runs it on this machine's CPU.

    Raises:
        CompressError: ONNX Runtime refuses the file.
    """
    graph = Graph.copy_of(load_model(path))
    own_weights(graph)
    computing = [node for node in graph.proto.node if node.op_type in COMPUTE or node.op_type in INT8_COMPUTE]
    labels = [node_label(node) for node in computing]
    multiply_adds = _count(graph.model, computing)
    for index, node in enumerate(computing):
        node.name = f"<{index}>"  # a fused node keeps the name of the node it replaced, with affixes
    optimised = _optimise(graph.model, threads)
    runs = {int(found[1]): node for node in optimised.graph.node if (found := re.search(r"<(\d+)>", node.name))}
    rows = []
    for index, node in enumerate(computing):
        final = runs.get(index)
        runs_as = final.op_type if final is not None else "fused"
        int8 = runs_as in INT8_COMPUTE or (final is None and node.op_type in INT8_COMPUTE)
        rows.append(ComputeNode(labels[index], node.op_type, runs_as, int8, multiply_adds[index], "" if int8 else _reason(graph, node)))
    operators = dict(Counter(node.op_type for node in optimised.graph.node).most_common())
    return Coverage(tuple(rows), operators, _leftover_pairs(optimised))


def _optimise(model: onnx.ModelProto, threads: int) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        options = cpu_options(threads=threads)
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        open_cpu(model, options)
        return onnx.load(options.optimized_model_filepath)


def blank_feeds(model: onnx.ModelProto, *, batch: int = 1) -> Feeds:
    """Zeros for every input; dynamic axes have the size `batch`."""
    constants = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for port in model.graph.input:
        if port.name not in constants:
            tensor = port.type.tensor_type
            shape = [d.dim_value if d.HasField("dim_value") else batch for d in tensor.shape.dim]
            feeds[port.name] = np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds


def _count(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[int]:
    """Multiply-adds of each node at batch 1, from the shapes of a real run."""
    wanted = [name for node in nodes for name in (node.input[0], node.input[_weight_index(node)], node.output[0])]
    shapes = {name: value.shape for name, value in trace(model, blank_feeds(model), tensors=wanted).items()}
    return [_multiply_adds(node, shapes) for node in nodes]


def _weight_index(node: onnx.NodeProto) -> int:
    return COMPUTE.get(node.op_type, INT8_COMPUTE.get(node.op_type, 1))


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Outputs times products an output; a transposed convolution counts inputs times products an input."""
    x, w, y = shapes[node.input[0]], shapes[node.input[_weight_index(node)]], shapes[node.output[0]]
    if node.op_type == "ConvTranspose":
        return math.prod(x) * math.prod(w[1:])
    if "Conv" in node.op_type:
        return math.prod(y) * math.prod(w[1:])  # w: (O, C / groups, kh, kw)
    if node.op_type == "MatMulNBits":
        return math.prod(y) * attribute(node, "K")
    transposed = attribute(node, "transA", 0)
    return math.prod(y) * x[-2 if transposed else -1]


def _reason(graph: Graph, node: onnx.NodeProto) -> str:
    x, w = _dequantizer(graph, node.input[0]), _dequantizer(graph, node.input[1])
    if (x is None and w is None) or node.op_type == "MatMulNBits":
        return NOT_QUANTIZED
    return "Q/DQ not fused: " + _why_unfused(graph, node, x, w)


def _dequantizer(graph: Graph, tensor: str) -> onnx.NodeProto | None:
    turned = graph.producer(tensor, op_type="Transpose")
    return graph.producer(turned.input[0] if turned is not None else tensor, op_type="DequantizeLinear")


def _why_unfused(graph: Graph, node: onnx.NodeProto, x: onnx.NodeProto | None, w: onnx.NodeProto | None) -> str:
    if x is None or w is None:
        return f"its {'input' if x is None else 'weight'} is not quantized"
    readers = graph.consumers(node.output[0])
    after = readers[0] if len(readers) == 1 else None
    last = after.output[0] if after is not None and after.op_type in ACTIVATIONS else node.output[0]
    quantizers = [reader for reader in graph.consumers(last) if reader.op_type == "QuantizeLinear"]
    if node.op_type.startswith("Conv") and not quantizers:
        return "its output is not quantized"
    if node.op_type in ("Gemm", "MatMul") and not quantizers:
        return "it ends in float with a float bias; it needs an int32 bias, or a dynamic batch where the input has three axes"
    if len(readers) > 1 or len(graph.consumers(last)) > 1:
        return "its output is read by others than the quantizer"
    zero = graph.input_value(quantizers[0], 2) if quantizers else None
    if after is not None and last != node.output[0]:
        return (
            f"{after.op_type} is absorbed only by a quantizer whose lowest code is 0, as uint8 with zero point 0; here it is {_typed(zero)}"
        )
    zero = graph.input_value(x, 2)
    if zero is None or zero.dtype != np.uint8:
        return f"its input is {_typed(zero)}, and x86 kernels take uint8"
    return "ONNX Runtime has no int8 kernel for this combination"


def _typed(zero: np.ndarray | None) -> str:
    return "without zero point" if zero is None else f"{zero.dtype} with zero point {int(np.ravel(zero)[0])}"


def _leftover_pairs(optimised: onnx.ModelProto) -> int:
    graph = Graph(optimised)
    left = [node for node in optimised.graph.node if node.op_type == "DequantizeLinear" and graph.value(node.input[0]) is None]
    return len(left)
