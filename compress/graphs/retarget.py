"""One symmetric int8 QDQ model in, the file of one target out: same numbers, in the form that target's kernels take.

In: activations per tensor int8 with zero point 0, weights int8 behind DequantizeLinear, float biases: what TensorRT takes.
ONNX Runtime runs that form several times slower, for it drops a ReLU only into an unsigned quantizer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from compress.errors import CompressError, RecipeError
from compress.graphs.contract import node_label, require_tensorrt
from compress.graphs.graph import Graph, attribute
from compress.graphs.linear import fold_transposes, gemms_from_matmuls, own_weights, quantize_biases

NON_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "Sqrt"})
LAYOUT = frozenset(  # a Resize of ours repeats pixels
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather", "MaxPool", "GlobalMaxPool", "Resize"}
)
KEEPS_SIGN = LAYOUT | {"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceMax", "QuantizeLinear", "DequantizeLinear"}
ALL_NON_NEGATIVE = frozenset({"Add", "Mul", "Concat", "Max"})


@dataclass(frozen=True)
class Target:
    """What the kernels of one runtime want."""

    unsigned: bool  # activations as uint8: zero point 128 (signed) or 0 (after a ReLU)
    integer_bias: bool  # biases as int32 behind DequantizeLinear
    title: str


TARGETS: dict[str, Target] = {
    "onnxruntime_x86": Target(True, True, "ONNX Runtime on x86: uint8 x int8 kernels"),
    # The same rules: ARM has uint8 x int8 and int8 x int8 kernels alike, and only unsigned quantizers absorb a ReLU.
    "onnxruntime_arm": Target(True, True, "ONNX Runtime on ARM: uint8 x int8 kernels"),
    "tensorrt": Target(False, False, "TensorRT and TensorRT-RTX: symmetric int8, float bias"),
}


def retarget(model: onnx.ModelProto, target: str, *, unsigned_weights: bool = False) -> onnx.ModelProto:
    """A copy for that target; for "tensorrt" tables are dequantized before they are read, and the file is checked against the contract.

    Signed activations keep their grid: q + 128 at the same scale s. Non-negative ones (after ReLU, ReLU6, sigmoid, softmax,
    also through pooling and layout) take zero point 0 and scale s * 127/255: same clip point, twice as fine; of fewer bits they keep s.
    Pixels that are codes of their own quantizer already are read as the bytes they are.
    `unsigned_weights`: weights as uint8 with zero point 128, the same values. It is for x86 without VNNI where the session
    cannot set `session.x64quantprecision`: uint8 x int8 products saturate there, and uint8 x uint8 do not.

    Raises:
        RecipeError: unknown target.
        EngineError: the model breaks TensorRT's contract.
        CompressError: an activation is not symmetric int8 per tensor, named.
    """
    if target not in TARGETS:
        raise RecipeError(f"target: unknown '{target}'. Known are {', '.join(TARGETS)}.")
    rules = TARGETS[target]
    if not rules.unsigned and unsigned_weights:
        raise RecipeError(f"target: '{target}' takes int8 weights only. Leave unsigned_weights out.")
    graph = Graph.copy_of(model)
    if not rules.unsigned:
        _dequantize_before_gather(graph)
        require_tensorrt(graph.model, name=target)
    if rules.unsigned:
        fold_transposes(graph)
        _unsign_activations(graph)
    if rules.integer_bias:
        gemms_from_matmuls(graph)
        quantize_biases(graph)
    if unsigned_weights:
        _unsign_weights(graph)
    if rules.unsigned:
        _read_bytes(graph)
        graph.remove_dead()
        own_weights(graph)
    return graph.model


def _dequantize_before_gather(graph: Graph) -> None:
    """int8 table -> Gather -> DequantizeLinear becomes table -> DequantizeLinear -> Gather: TensorRT takes int8 constants only so."""
    for node in list(graph.proto.node):
        if node.op_type != "Gather" or (table := graph.value(node.input[0])) is None or table.dtype != np.int8:
            continue
        for after in list(graph.consumers(node.output[0])):
            if after.op_type != "DequantizeLinear" or (scale := graph.input_value(after, 1)) is None or scale.size != 1:
                continue
            before = onnx.helper.make_node("DequantizeLinear", [node.input[0], *after.input[1:]], [graph.unique(f"{node.input[0]}_float")])
            graph.insert_before(node, before)
            gather = onnx.helper.make_node("Gather", [before.output[0], node.input[1]], [graph.unique(f"{node.output[0]}_float")])
            gather.attribute.extend(node.attribute)
            graph.insert_before(node, gather)
            graph.replace_uses(after.output[0], gather.output[0])
    graph.remove_dead()


def is_non_negative(graph: Graph, tensor: str) -> bool:
    """Whether the tensor cannot hold a value below 0, by its producers."""
    seen: dict[str, bool] = {}

    def check(name: str) -> bool:
        if name not in seen:
            seen[name] = False  # breaks cycles, which a valid graph has not
            seen[name] = decide(name)
        return seen[name]

    def decide(name: str) -> bool:
        if (constant := graph.value(name)) is not None:
            return constant.dtype.kind == "f" and bool(np.all(constant >= 0))
        node = graph.producer(name)
        if node is None:
            return False
        if node.op_type == "Clip":
            low = graph.input_value(node, 1)
            return low is not None and float(low) >= 0
        if node.op_type in KEEPS_SIGN:
            return check(node.input[0])
        return node.op_type in NON_NEGATIVE or (node.op_type in ALL_NON_NEGATIVE and all(check(i) for i in node.input))

    return check(tensor)


def _unsign_activations(graph: Graph) -> None:
    chosen: dict[str, tuple[np.float32, np.uint8]] = {}  # by the output of each QuantizeLinear
    old: dict[str, np.float32] = {}
    for node in graph.quantizers():
        scale = _symmetric_scale(graph, node)
        source = _quantizer_behind(graph, node.input[0])
        follows = source is not None and old.get(source) == scale
        grid = chosen[source] if source is not None and follows else _unsigned_grid(graph, node, scale)
        old[node.output[0]], chosen[node.output[0]] = scale, grid
    for name, (scale, zero) in chosen.items():
        quantizer = graph.producers[name]
        readers = graph.consumers(name)
        strays = [reader for reader in readers if reader.op_type != "DequantizeLinear"]
        if strays:
            raise CompressError(
                f"{node_label(quantizer)}: its codes go to {node_label(strays[0])}. A DequantizeLinear must read them directly."
            )
        scale_name, zero_name = graph.add_initializer(f"{name}_scale", scale), graph.add_initializer(f"{name}_zero", zero)
        for node in (quantizer, *readers):
            graph.set_input(node, 1, scale_name)
            graph.set_input(node, 2, zero_name)
            _drop_attribute(node, "output_dtype")
    graph.forget_types(list(chosen))


def _read_bytes(graph: Graph) -> None:
    """Where a quantizer gives back the very bytes of a uint8 input, the bytes go to its readers instead, in its layout.

    The arithmetic between is followed as value = a * byte + b: it undoes itself where a is the scale and b is -zero * a.
    """
    bytes_in = {i.name for i in graph.proto.input if i.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    for quantizer in [node for node in graph.proto.node if node.op_type == "QuantizeLinear"]:
        steps, tensor, a, b = [], quantizer.input[0], 1.0, 0.0  # value of the quantizer's input = a * value of `tensor` + b
        while (node := graph.producer(tensor)) is not None and (found := _affine(graph, node)) is not None:
            tensor, gain, shift = found
            a, b = a * gain, b + a * shift
            steps.append(node)
        scale, zero = graph.input_value(quantizer, 1), graph.input_value(quantizer, 2)
        if tensor not in bytes_in or scale is None or zero is None or zero.dtype != np.uint8:
            continue
        if a != float(scale) or b != -float(zero) * a:
            continue
        for node in reversed([node for node in steps if node.op_type == "Transpose"]):
            moved = onnx.helper.make_node("Transpose", [tensor], [graph.unique(f"{tensor}_moved")], name=graph.unique(f"{tensor}_move"))
            moved.attribute.extend(node.attribute)
            tensor = graph.insert_before(quantizer, moved).output[0]
        graph.replace_uses(quantizer.output[0], tensor)


def _affine(graph: Graph, node: onnx.NodeProto) -> tuple[str, float, float] | None:
    """(x, gain, shift) where the node computes gain * x + shift with constants, or moves or casts x; None for any other node."""
    if node.op_type == "Transpose" or (node.op_type == "Cast" and attribute(node, "to") == onnx.TensorProto.FLOAT):
        return node.input[0], 1.0, 0.0
    if node.op_type not in ("Add", "Mul"):
        return None
    for x, other in ((0, 1), (1, 0)):
        constant = graph.input_value(node, other)
        if constant is not None and constant.size == 1:
            value = float(constant.reshape(()))
            return (node.input[x], value, 0.0) if node.op_type == "Mul" else (node.input[x], 1.0, value)
    return None


def _symmetric_scale(graph: Graph, node: onnx.NodeProto) -> np.float32:
    scale, zero = graph.input_value(node, 1), graph.input_value(node, 2)
    if scale is None or zero is None or scale.size != 1 or zero.dtype != np.int8 or np.any(zero != 0):
        found = "no constant zero point" if zero is None else f"{zero.dtype} zero point {np.ravel(zero)[:3].tolist()}"
        raise CompressError(f"{node_label(node)}: {found}, but retargeting starts from symmetric int8 (per tensor, zero point 0).")
    value = np.float32(np.ravel(scale)[0])
    if not np.isfinite(value) or value <= 0:
        raise CompressError(f"{node_label(node)}: scale {value} is not a positive number. Calibrate on inputs that are not constant.")
    return value


def _quantizer_behind(graph: Graph, tensor: str) -> str | None:
    """The codes from which the tensor came through layout nodes alone, so that both quantizers can share one grid."""
    node = graph.producer(tensor)
    while node is not None and node.op_type in LAYOUT:
        node = graph.producer(node.input[0])
    return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else None


def _unsigned_grid(graph: Graph, node: onnx.NodeProto, scale: np.float32) -> tuple[np.float32, np.uint8]:
    if not is_non_negative(graph, node.input[0]):
        return scale, np.uint8(128)
    fine = np.float32(np.float64(scale) * 127 / 255)
    clip = graph.producer(node.input[0], op_type="Clip")
    high = graph.input_value(clip, 2) if clip is not None else None
    if high is not None and high < 64 * scale:  # fewer than 8 bits: what was trained is this grid, and none that is finer
        return scale, np.uint8(0)
    if high is not None:  # ONNX Runtime drops the Clip only where code 255 stands for at most its upper bound
        fine = min(fine, np.float32(high / 255))
        while np.float32(fine * np.float32(255)) > np.float32(high):
            fine = np.nextafter(fine, np.float32(0))
    return fine, np.uint8(0)


def _unsign_weights(graph: Graph) -> None:
    shifted: dict[str, str] = {}
    for node in list(graph.proto.node):
        codes = graph.value(node.input[0]) if node.op_type == "DequantizeLinear" else None
        readers = {reader.op_type for reader in graph.consumers(node.output[0])}
        if codes is None or codes.dtype != np.int8 or not readers & {"Conv", "Gemm", "MatMul"}:
            continue
        name = node.input[0]
        if name not in shifted:
            shifted[name] = graph.add_initializer(f"{name}_u8", (codes.astype(np.int16) + 128).astype(np.uint8))
        scale = graph.value(node.input[1])
        graph.set_input(node, 0, shifted[name])
        graph.set_input(node, 2, graph.add_initializer(f"{name}_u8_zero", np.full(() if scale is None else scale.shape, 128, np.uint8)))


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [a for a in node.attribute if a.name != name]
    if len(kept) != len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)
