"""One graph as several: what each input needs alone, and what joins them, so that an input which many rows share is computed once, and a
device that has one of the inputs needs no other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from compress.errors import CompressError
from compress.graphs.graph import Graph, attribute


@dataclass(frozen=True)
class Parts:
    """alone: the graph of each input that has one, whose outputs `joint` reads; `joint` reads the other inputs as they are."""

    alone: dict[str, onnx.ModelProto]
    joint: onnx.ModelProto


def split_by_input(model: onnx.ModelProto) -> Parts | None:
    """The parts of a model with several inputs; None where it cannot be cut: one input, nothing that an input needs alone, a node that
    looks across the rows of a batch, or a tensor of unknown type at the cut.

    The nodes are the model's own, and what stands in two parts works on constants and sizes alone. Where the cut meets a quantized tensor
    it goes in front of the DequantizeLinear, so that both sides keep the pairs which a runtime fuses into int8 kernels. How many rows a
    batch has is asked of an input of the part itself, whichever input the model asks."""
    ports = [port.name for port in model.graph.input]
    if len(ports) < 2:
        return None
    graph = Graph(onnx.shape_inference.infer_shapes(model))
    if any(_mixes_rows(graph, node) for node in graph.proto.node):
        return None
    owners = _owners(graph, ports)
    outputs = set(graph.output_names)
    joint = [node for node in graph.proto.node if len(owners[id(node)]) > 1 or outputs & set(node.output)]
    if len(joint) == len(graph.proto.node):
        return None
    _take_over(graph, joint, owners)
    taken = {id(node) for node in joint}
    made = {name: owners[id(node)] for node in graph.proto.node if id(node) not in taken for name in node.output}
    cut = {name: next(iter(made[name])) for node in joint for name in node.input if made.get(name)}
    types = {info.name: info for info in graph.proto.value_info}
    if not cut or any(name not in types or not types[name].type.tensor_type.elem_type for name in cut):
        return None
    alone = {}
    for port in ports:
        ends = [types[name] for name, owner in cut.items() if owner == port]
        if ends:
            alone[port] = _part(graph, inputs=[port], extra=[], outputs=ends)
    left = [port for port in ports if any(port in node.input for node in joint)]
    return Parts(alone, _part(graph, inputs=left, extra=[types[name] for name in cut], outputs=list(graph.proto.output)))


def split_towers(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """The towers of a model whose output is one vector for each input behind each other: a graph each, from that input to `logits` (R, D)
    float32. Raises CompressError for any other model."""
    graph = Graph(onnx.shape_inference.infer_shapes(model))
    ports, (output,) = [port.name for port in model.graph.input], graph.output_names
    owners, types = _owners(graph, ports), {info.name: info for info in graph.proto.value_info}
    end = graph.producer(output)
    while end is not None and end.op_type == "Cast":
        end = graph.producer(end.input[0])
    makers = [graph.producer(name) for name in end.input] if end is not None and end.op_type == "Concat" else []
    if [owners[id(node)] for node in makers if node is not None] != [{port} for port in ports]:
        raise CompressError(f"{output} is not made of one vector for each of {', '.join(ports)}, so there are no towers to cut")
    assert end is not None
    towers = {}
    for port, name in zip(ports, end.input, strict=True):
        tower = towers[port] = _part(graph, inputs=[port], extra=[], outputs=[types[name]])
        tower.graph.node.append(helper.make_node("Cast", [name], [output], name=f"{port}_{output}", to=TensorProto.FLOAT))
        tower.graph.output[0].name, tower.graph.output[0].type.tensor_type.elem_type = output, TensorProto.FLOAT
    return towers


def _owners(graph: Graph, ports: list[str]) -> dict[int, set[str]]:
    """The ports that each node depends on, by the node's id."""
    reach = {port: {port} for port in ports}
    owners: dict[int, set[str]] = {}
    for node in graph.proto.node:
        owners[id(node)] = set() if _counts_rows(graph, node) else set().union(*(reach.get(name, set()) for name in graph.reads(node)))
        reach |= {name: owners[id(node)] for name in node.output}
    return owners


def _mixes_rows(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether what the node gives for one row depends on the other rows of the batch: a range or a reduction over the first axis."""
    if not node.op_type.startswith("Reduce"):
        return node.op_type == "DynamicQuantizeLinear"
    axes = attribute(node, "axes")
    axes = graph.input_value(node, 1) if axes is None else axes
    return axes is None or 0 in np.ravel(axes)


def _counts_rows(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether the node gives the length of the batch, and nothing else, of an input of the graph."""
    asked = (attribute(node, "start", 0), attribute(node, "end"))
    return node.op_type == "Shape" and asked == (0, 1) and any(port.name == node.input[0] for port in graph.proto.input)


def _take_over(graph: Graph, joint: list[onnx.NodeProto], owners: dict[int, set[str]]) -> None:
    """Adds to `joint` the nodes before it that must stay with it: DequantizeLinear, and whatever works on sizes and not on rows."""
    sizes: set[str] = set()
    for node in graph.proto.node:
        computed = [name for name in graph.reads(node) if graph.value(name) is None]
        if node.op_type in ("Shape", "Size") or (computed and all(name in sizes for name in computed)):
            sizes.update(node.output)
    taken, ahead = {id(node) for node in joint}, list(joint)
    while ahead:
        for name in graph.reads(ahead.pop()):
            node = graph.producer(name)
            if node is None or id(node) in taken or not owners[id(node)]:
                continue
            if node.op_type == "DequantizeLinear" or name in sizes:
                taken.add(id(node))
                joint.append(node)
                ahead.append(node)


def _part(graph: Graph, *, inputs: list[str], extra: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """The nodes that `outputs` need, from `inputs` of the graph and the tensors `extra` on."""
    known, alive = {*inputs, *(info.name for info in extra)}, []
    needed = {info.name for info in outputs}
    for node in reversed(graph.proto.node):
        if needed & set(node.output) and not known & set(node.output):
            needed.update(graph.reads(node))
            alive.append(node)
    part = onnx.ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    part.graph.name = graph.proto.name
    part.graph.node.extend(reversed(alive))
    for node in part.graph.node:
        if _counts_rows(graph, node) and node.input[0] not in inputs:
            node.input[0] = (inputs or [extra[0].name])[0]
    part.graph.initializer.extend(tensor for tensor in graph.proto.initializer if tensor.name in needed)
    part.graph.input.extend(port for port in graph.proto.input if port.name in inputs)
    part.graph.input.extend(_any_batch(info) for info in extra)
    part.graph.output.extend(_any_batch(info) for info in outputs)
    return part


def _any_batch(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The tensor with a first axis of any length, and the others only where they are known."""
    kind = info.type.tensor_type
    if not kind.HasField("shape") or not kind.shape.dim:
        return helper.make_tensor_value_info(info.name, kind.elem_type or TensorProto.FLOAT, None)
    others = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim[1:]]
    return helper.make_tensor_value_info(info.name, kind.elem_type, ["batch", *others])
