"""A float16 variant of a float32 graph: float32 inputs and outputs, and float32 kept where float16 would overflow."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from compress.errors import CompressError
from compress.graphs.contract import node_label
from compress.graphs.graph import Graph
from compress.graphs.linear import own_weights
from compress.graphs.trace import Feeds, trace

MAX_FLOAT16 = 65504.0


def to_float16(model: onnx.ModelProto, *, feeds: Feeds | None = None, keep_float32: tuple[str, ...] = ()) -> onnx.ModelProto:
    """A float16 copy; ports keep their types, and Q/DQ nodes keep float32 scales.

    With `feeds` (real samples), nodes whose inputs or outputs exceed half of float16's range there stay in float32, and so does all that
    a logarithm is taken of, which is wanted over more decades than float16 holds.
    `keep_float32` names further nodes. Constants below -65504 (attention masks) are cut to -65504, which masks as well.

    Raises:
        CompressError: the result does not load as typed ONNX, with the reason.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    graph = Graph.copy_of(model)
    own_weights(graph)
    for index, node in enumerate(graph.proto.node):
        node.name = node.name or f"{node.op_type}_{index}"
    named = _without_types(graph.model)  # recorded types of inner tensors may be missing; inference below gives all of them
    overflowing = overflowing_nodes(named, feeds) if feeds is not None else []
    blocked = [*overflowing, *before_logarithms(named), *keep_float32]
    unknown = set(keep_float32) - {node.name for node in named.graph.node}
    if unknown:
        raise CompressError(f"keep_float32: no node is called {', '.join(sorted(unknown))}.")
    _own_constants(Graph(named), {*DEFAULT_OP_BLOCK_LIST, *blocked})
    half = convert_float_to_float16(
        onnx.shape_inference.infer_shapes(named),
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, "QuantizeLinear", "DequantizeLinear"],
        node_block_list=blocked,
    )
    half = _without_round_trips(half)
    try:
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(_without_types(half), strict_mode=True))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CompressError(f"float16: the converted graph is not valid ONNX: {error}. Name the node in keep_float32.") from error
    return half


def overflowing_nodes(model: onnx.ModelProto, feeds: Feeds, *, limit: float = MAX_FLOAT16 / 2) -> list[str]:
    """Labels of nodes that read or make a finite |value| above the limit on these feeds, in graph order.

    Constants count too, but for very large negative ones (masks), which float16 may cut without harm.
    """
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    names = list(dict.fromkeys(name for node in nodes for name in (*node.input, *node.output) if name))
    values = trace(model, feeds, tensors=names)
    large = {name for name, value in values.items() if _exceeds(value, limit)}
    return [node_label(node) for node in nodes if large.intersection((*node.input, *node.output))]


def before_logarithms(model: onnx.ModelProto) -> list[str]:
    """Labels of the Log nodes and of every node that one of them depends on."""
    graph = Graph(model)
    waiting = [node for node in model.graph.node if node.op_type == "Log"]
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node_label(node) not in found:
            found[node_label(node)] = None
            waiting += [maker for name in node.input if (maker := graph.producer(name)) is not None]
    return list(found)


def _exceeds(value: np.ndarray, limit: float) -> bool:
    if value.dtype != np.float32:
        return False
    magnitude = np.abs(value[np.isfinite(value) & (value > -1e30)])
    return bool(magnitude.size and magnitude.max() > limit)


def _own_constants(graph: Graph, staying: set[str]) -> None:
    """Gives each node that stays in float32, by its name or operator, constants of its own: the converter casts one back for every reader, under
    one and the same name."""
    for node in graph.proto.node:
        for index, name in enumerate(node.input):
            value = graph.value(name) if {node.op_type, node_label(node)} & staying else None
            if value is not None and len(graph.consumers(name)) > 1:
                graph.set_input(node, index, graph.add_initializer(name, value))


def _without_types(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = Graph.copy_of(model).model
    del copy.graph.value_info[:]
    return copy


def _without_round_trips(model: onnx.ModelProto) -> onnx.ModelProto:
    """Lets neighbours that both stay in float32 talk in float32.

    The converter casts to float16 and back between them, which overflows exactly where float32 was kept to prevent it.
    """
    graph = Graph(model)
    for back in list(graph.proto.node):
        there = graph.producer(back.input[0], op_type="Cast") if back.op_type == "Cast" else None
        if there is not None and there.name.endswith("_cast_to_fp16_node") and back.name.endswith("_cast_to_fp32_node"):
            graph.replace_uses(back.output[0], there.input[0])
    _sort(model)
    graph.remove_dead()
    return model


def _sort(model: onnx.ModelProto) -> None:
    """Brings the nodes into topological order in place: the converter appends its casts at the end."""
    ready = {t.name for t in model.graph.initializer} | {i.name for i in model.graph.input} | {""}
    waiting, done = list(model.graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in node.input):
                done.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise CompressError(f"float16: {node_label(later[0])} reads a tensor that nothing makes.")
        waiting = later
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in done]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def float16_share(model: onnx.ModelProto) -> float:
    """Share of the floating-point weight bytes that is stored as float16."""
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += onnx.numpy_helper.to_array(tensor).nbytes
    return sizes[TensorProto.FLOAT16] / max(1, sum(sizes.values()))
