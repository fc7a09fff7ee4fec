"""A foreign classifier's ONNX file behind our ports: what makes its inputs of ours is put in front, what makes our logits of its output behind."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.errors import DataError, RecipeError
from compress.io_spec import IOSpec

OWN = "teacher/"  # in front of every name of the foreign graph, so that none is ours
FLOOR = 1e-6  # the least probability whose logarithm is taken
Steps = Sequence[tuple[str, Any]]  # operator and its constant: ("Sub", mean), ("Transpose", order), ("Cast", "float32")


class Reading(NamedTuple):
    """How the file's output becomes logits in the order of the data's labels."""

    output: str | None  # its name; None: the only one
    columns: list[int]  # the output of each label
    classes: int  # outputs that the file must have
    form: str  # logits or probabilities
    odds: bool = False  # of probabilities: each one stands for itself, and its logit is its log odds


def adapt(model: onnx.ModelProto, io: IOSpec, feeds: Mapping[str, Mapping[str, Steps]], reading: Reading) -> onnx.ModelProto:
    """The model with the ports of `io`. feeds: our input -> the file's input -> the steps from one to the other; a last Cast is added.

    Raises: RecipeError for inputs that are not there or not fed, an unknown output, or a batch that is fixed; DataError for another number of
    classes.
    """
    foreign = onnx.compose.add_prefix(model, OWN)
    graph = foreign.graph
    constants = {tensor.name for tensor in graph.initializer}
    theirs = {port.name.removeprefix(OWN): port for port in graph.input if port.name not in constants}
    given = {name: (ours, steps) for ours, some in feeds.items() for name, steps in some.items()}
    _check_inputs(theirs, given)
    nodes: list[onnx.NodeProto] = []
    for name, (ours, steps) in given.items():
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(theirs[name].type.tensor_type.elem_type)).name
        nodes += _chain(graph, ours, [*steps, ("Cast", kind)], OWN + name)
    scores, steps = _scores(graph, reading), []
    if reading.form == "probabilities":
        steps = [("Max", np.float32(FLOOR)), ("Min", np.float32(1 - FLOOR if reading.odds else 1))]
    behind = _chain(graph, scores, [("Cast", "float32"), *steps, ("Gather", np.array(reading.columns))], "picked")
    behind += _to_logits(graph, reading)
    del graph.input[:]
    del graph.output[:]
    every = [node for part in (nodes, list(graph.node), behind) for node in part]
    del graph.node[:]
    graph.node.extend(every)
    graph.input.extend(helper.make_tensor_value_info(p.name, _elem(p.dtype), ["batch", *p.shape]) for p in io.inputs)
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(reading.columns)]))
    return foreign


def _check_inputs(theirs: Mapping[str, onnx.ValueInfoProto], given: Mapping[str, Any]) -> None:
    there = ", ".join(map(repr, theirs))
    for name in given:
        if name not in theirs:
            raise RecipeError(f"teacher.feeds: the file has no input {name!r}{_near(name, theirs)}; it has {there}")
    if lacking := [name for name in theirs if name not in given]:
        raise RecipeError(f"teacher.feeds: nothing feeds the file's input {', '.join(map(repr, lacking))}; it has {there}")
    for name, port in theirs.items():
        shape = port.type.tensor_type.shape.dim
        if not len(shape) or (shape[0].HasField("dim_value") and shape[0].dim_value):
            fixed = shape[0].dim_value if len(shape) else "none"
            raise RecipeError(f"teacher.path: input {name!r} has a batch of {fixed}; export the file again with a batch that may vary")


def _scores(graph: onnx.GraphProto, reading: Reading) -> str:
    """The name of the output that is read."""
    outputs = {port.name.removeprefix(OWN): port for port in graph.output}
    name = reading.output or (next(iter(outputs)) if len(outputs) == 1 else None)
    if name is None:
        raise RecipeError(f"teacher.output: the file has several outputs, so one must be named: {', '.join(map(repr, outputs))}")
    if name not in outputs:
        raise RecipeError(f"teacher.output: the file has no output {name!r}{_near(name, outputs)}; it has {', '.join(map(repr, outputs))}")
    dims = outputs[name].type.tensor_type.shape.dim
    if len(dims) == 2 and dims[1].dim_value not in (0, reading.classes):
        raise DataError(
            f"teacher.classes: names {reading.classes} classes, but output {name!r} has {dims[1].dim_value}; name each, in its order"
        )
    return OWN + name


def _to_logits(graph: onnx.GraphProto, reading: Reading) -> list[onnx.NodeProto]:
    if reading.form == "logits":
        return [helper.make_node("Identity", ["picked"], ["logits"])]
    if not reading.odds:
        return [helper.make_node("Log", ["picked"], ["logits"])]
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    names = (("Log", ["picked"], "yes"), ("Sub", ["one", "picked"], "rest"), ("Log", ["rest"], "no"), ("Sub", ["yes", "no"], "logits"))
    return [helper.make_node(kind, inputs, [out]) for kind, inputs, out in names]


def _chain(graph: onnx.GraphProto, start: str, steps: Steps, end: str) -> list[onnx.NodeProto]:
    """Nodes from the tensor `start` to `end`, one a step."""
    nodes, current = [], start
    for place, (kind, value) in enumerate(steps):
        out = end if place == len(steps) - 1 else f"{end}/step_{place}"
        if kind == "Cast":
            nodes.append(helper.make_node("Cast", [current], [out], to=_elem(value)))
        elif kind == "Transpose":
            nodes.append(helper.make_node("Transpose", [current], [out], perm=list(value)))
        else:
            name = f"{end}/constant_{place}"
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            node = helper.make_node(kind, [current, name], [out])
            if kind == "Gather":
                node.attribute.append(helper.make_attribute("axis", 1))
            nodes.append(node)
        current = out
    return nodes


def _elem(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _near(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
