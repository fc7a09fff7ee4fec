"""Weights and biases of Conv, Gemm and MatMul in the form that ONNX Runtime fuses into int8 kernels; edits the graph in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from compress.errors import CompressError
from compress.graphs.contract import channel_axis, node_label
from compress.graphs.graph import Graph, attribute

BIAS_LIMIT = 2.0**30  # largest |bias| in steps of its grid: leaves int32 half its range for the sum of products
TINY = float(np.finfo(np.float32).tiny)


def fold_transposes(graph: Graph) -> None:
    """Transposed 2-D constants, float or int8 behind DequantizeLinear, become initialisers that are stored transposed."""
    for node in list(graph.proto.node):
        if node.op_type != "Transpose" or list(attribute(node, "perm", [1, 0])) != [1, 0]:
            continue
        plain = graph.value(node.input[0])
        if plain is not None and plain.ndim == 2:
            graph.replace_uses(node.output[0], graph.add_initializer(f"{node.input[0]}_t", np.ascontiguousarray(plain.T)))
        elif (maker := graph.producer(node.input[0], op_type="DequantizeLinear")) is not None:
            _fold_dequantized(graph, node, maker)


def _fold_dequantized(graph: Graph, node: onnx.NodeProto, maker: onnx.NodeProto) -> None:
    codes, scale = graph.value(maker.input[0]), graph.input_value(maker, 1)
    if codes is None or codes.ndim != 2 or scale is None:
        return
    turned = graph.add_initializer(f"{maker.input[0]}_t", np.ascontiguousarray(codes.T))
    axis: dict[str, Any] = {"axis": 1 - attribute(maker, "axis", 1) % 2} if scale.size > 1 else {}
    output = graph.unique(f"{node.output[0]}_dq")
    name = f"{maker.name or node.output[0]}_t"
    graph.insert_before(node, helper.make_node("DequantizeLinear", [turned, *maker.input[1:]], [output], name=name, **axis))
    graph.replace_uses(node.output[0], output)


def gemms_from_matmuls(graph: Graph) -> None:
    """Quantized MatMul + Add of a constant row on 2-D inputs becomes Gemm.

    ONNX Runtime makes that Gemm itself, but after it looked for int8 patterns with an int32 bias: the layer would run in float.
    """
    ranks = _ranks(graph.model)
    for node in list(graph.proto.node):
        add = graph.sole_consumer(node.output[0]) if node.op_type == "MatMul" else None
        if add is None or add.op_type != "Add" or ranks.get(node.input[0]) != 2 or not _quantized(graph, node):
            continue
        other = add.input[1] if add.input[0] == node.output[0] else add.input[0]
        bias = graph.value(other)
        if bias is None or bias.ndim != 1 or bias.size != _weight_codes(graph, node).shape[1]:
            continue
        output = add.output[0]
        gemm = helper.make_node("Gemm", [*node.input, other], [output], name=node.name or f"{output}_gemm")
        add.output[0] = graph.unique(f"{output}_sum")  # nobody reads it: remove_dead takes the Add away
        graph.insert_before(add, gemm)


def quantize_biases(graph: Graph) -> None:
    """Float biases of quantized Conv and Gemm become int32 at scale (input scale x weight scale), behind DequantizeLinear.

    Without it a Gemm that ends in float stays float, and so do convolutions in older releases. Where a channel's weights are
    so small that its bias would not fit in int32 (a dead channel), the scale of that channel's weights is raised until it does.
    """
    for node in list(graph.proto.node):
        plain = node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0)
        bias = graph.input_value(node, 2) if plain else None
        if bias is None or bias.ndim != 1 or not _quantized(graph, node):
            continue
        scale, codes = _bias_codes(graph, node, bias.astype(np.float64))
        base = f"{node.input[2]}_int32"
        names = [graph.add_initializer(base, codes), graph.add_initializer(f"{base}_scale", scale)]
        names.append(graph.add_initializer(f"{base}_zero", np.zeros(scale.shape, np.int32)))
        output = graph.unique(f"{base}_dq")
        axis: dict[str, Any] = {"axis": 0} if scale.ndim else {}
        graph.insert_before(node, helper.make_node("DequantizeLinear", names, [output], name=output, **axis))
        graph.set_input(node, 2, output)


def own_weights(graph: Graph) -> None:
    """Gives each Conv, Gemm and MatMul a weight of its own: DequantizeLinear, codes and zero point are shared no more.

    With `session.x64quantprecision` ONNX Runtime rewrites each weight and zero point under a derived name, and refuses the
    file ("Attempt to replace the existing tensor") where two layers share one.
    """
    taken: set[str] = set()
    for node in list(graph.proto.node):
        maker = graph.producer(node.input[1], op_type="DequantizeLinear") if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if maker is None or graph.value(maker.input[0]) is None:
            continue
        if maker.output[0] in taken:
            copy = onnx.NodeProto.FromString(maker.SerializeToString())
            copy.name = copy.output[0] = graph.unique(maker.output[0])
            graph.set_input(node, 1, graph.insert_before(node, copy).output[0])
        taken.add(node.input[1])
    for maker in list(graph.proto.node):
        if maker.op_type != "DequantizeLinear" or graph.value(maker.input[0]) is None:
            continue
        for index in range(0, len(maker.input), 2):  # codes and zero point
            value = graph.input_value(maker, index)
            if value is not None and len(graph.consumers(maker.input[index])) > 1:
                graph.set_input(maker, index, graph.add_initializer(maker.input[index], value))


def _quantized(graph: Graph, node: onnx.NodeProto) -> bool:
    """Input behind Q/DQ, weight behind DequantizeLinear with constant int8 codes."""
    x, w = (graph.producer(node.input[i], op_type="DequantizeLinear") for i in (0, 1))
    if x is None or w is None or graph.producer(x.input[0], op_type="QuantizeLinear") is None:
        return False
    codes = graph.value(w.input[0])
    return codes is not None and codes.dtype == np.int8 and codes.ndim >= 2


def _weight_codes(graph: Graph, node: onnx.NodeProto) -> np.ndarray:
    codes = graph.value(graph.producers[node.input[1]].input[0])
    assert codes is not None  # _quantized has seen them
    return codes


def _constant(graph: Graph, node: onnx.NodeProto, index: int) -> np.ndarray:
    value = graph.input_value(node, index)
    if value is None:
        raise CompressError(f"{node_label(node)}: input {index} is computed. Freeze the observers, so that scales are initialisers.")
    return value


def _bias_codes(graph: Graph, node: onnx.NodeProto, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scale, int32 codes) of the bias, after weights of too small a scale were given a larger one."""
    step = float(np.ravel(_constant(graph, graph.producers[node.input[0]], 1))[0])
    dequantize = graph.producers[node.input[1]]
    weight_scale = _constant(graph, dequantize, 1).astype(np.float64)
    least = np.maximum(np.abs(bias) / (BIAS_LIMIT * step), TINY / step)  # (channels,)
    if weight_scale.size == 1:
        least = least.max().reshape(weight_scale.shape)
    if np.any(weight_scale < least):
        weight_scale = _raise_weight_scale(graph, node, np.maximum(weight_scale, least * 1.001))
    scale = (step * weight_scale).astype(np.float32)
    if scale.size == 1:
        scale = scale.reshape(())
    return scale, np.rint(bias / scale.astype(np.float64)).astype(np.int32)


def _raise_weight_scale(graph: Graph, node: onnx.NodeProto, scale: np.ndarray) -> np.ndarray:
    """Gives this node weights of its own on the coarser grid; returns the scale as stored."""
    dequantize = graph.producers[node.input[1]]
    codes, old = _weight_codes(graph, node), _constant(graph, dequantize, 1)
    axis = channel_axis(graph, node, 1) if scale.size > 1 else None
    stored = scale.astype(np.float32)
    ratio = old.astype(np.float64) / stored
    if axis is not None:
        ratio = ratio.reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
    base, output = dequantize.input[0], graph.unique(f"{dequantize.output[0]}_coarse")
    names = [graph.add_initializer(f"{base}_coarse", np.rint(codes * ratio).astype(np.int8))]
    names += [graph.add_initializer(f"{base}_coarse_scale", stored), dequantize.input[2]]
    options: dict[str, Any] = {"axis": axis} if axis is not None else {}
    graph.insert_before(node, helper.make_node("DequantizeLinear", names, [output], name=output, **options))
    graph.set_input(node, 1, output)
    return stored.astype(np.float64)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """The rank of each tensor that shape inference can tell."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    infos = [*inferred.value_info, *inferred.input, *inferred.output]
    return {i.name: len(i.type.tensor_type.shape.dim) for i in infos if i.type.tensor_type.HasField("shape")}
