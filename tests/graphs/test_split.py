"""A graph of two inputs, cut: the parts compute what the whole computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import CompressError
from compress.graphs.split import split_by_input, split_towers

RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "table": RANDOM.standard_normal((10, 8)).astype(np.float32),
    "place": RANDOM.standard_normal((1, 3, 8)).astype(np.float32),
    "w_image": RANDOM.standard_normal((4, 8)).astype(np.float32),
    "w_out": RANDOM.standard_normal((8, 5)).astype(np.float32),
    "tail": np.int64([3, 8]),
    "axis": np.int64([1]),
    "scale": np.float32(0.05),
    "zero": np.int8(0),
}


def two_inputs(*, quantized: bool) -> onnx.ModelProto:
    """logits = (image @ w_image) * mean over tokens(table[text] + place) @ w_out; the text asks the image how many rows there are."""
    node = helper.make_node
    nodes = [
        node("Shape", ["image"], ["count"], start=0, end=1),
        node("Concat", ["count", "tail"], ["shape"], axis=0),
        node("Expand", ["place", "shape"], ["places"]),
        node("Gather", ["table", "text"], ["words"]),
        node("Add", ["words", "places"], ["tokens"]),
        node("ReduceMean", ["tokens", "axis"], ["text_state"], keepdims=0),
        node("MatMul", ["image", "w_image"], ["image_state"]),
    ]
    states = ["text_state", "image_state"]
    for state in states if quantized else ():
        nodes.append(node("QuantizeLinear", [state, "scale", "zero"], [f"{state}_q"]))
        nodes.append(node("DequantizeLinear", [f"{state}_q", "scale", "zero"], [f"{state}_dq"]))
    read = [f"{state}_dq" for state in states] if quantized else states
    nodes += [node("Mul", read, ["both"]), node("MatMul", ["both", "w_out"], ["logits"])]
    return model_of(nodes)


def model_of(nodes: list[onnx.NodeProto], ports: tuple[str, ...] = ("image", "text")) -> onnx.ModelProto:
    kinds = {
        "image": helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4]),
        "text": helper.make_tensor_value_info("text", TensorProto.INT64, ["batch", 3]),
    }
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])
    read = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in read]
    graph = helper.make_graph(nodes, "g", [kinds[port] for port in ports], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answers(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, {port.name: feeds[port.name] for port in session.get_inputs()}), strict=True))


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("quantized", [False, True])
def test_parts_compute_what_the_whole_computes(quantized: bool, rows: int) -> None:
    model = two_inputs(quantized=quantized)
    feeds = {"image": RANDOM.standard_normal((rows, 4)).astype(np.float32), "text": RANDOM.integers(0, 10, (rows, 3))}
    parts = split_by_input(model)
    assert parts is not None
    for port, part in parts.alone.items():
        onnx.checker.check_model(part)
        feeds |= answers(part, {port: feeds[port]})  # needs no other input
    assert answers(parts.joint, feeds)["logits"].tolist() == answers(model, feeds)["logits"].tolist()


def test_cut_stands_before_dequantization() -> None:
    parts = split_by_input(two_inputs(quantized=True))
    assert parts is not None
    assert {(p.name, p.type.tensor_type.elem_type) for p in parts.joint.graph.input} == {
        ("text_state_q", TensorProto.INT8),
        ("image_state_q", TensorProto.INT8),
    }
    assert [node.op_type for node in parts.joint.graph.node] == ["DequantizeLinear"] * 2 + ["Mul", "MatMul"]


def test_every_node_is_in_one_part_but_those_of_sizes() -> None:
    model = two_inputs(quantized=False)
    parts = split_by_input(model)
    assert parts is not None
    where = [node.output[0] for part in (*parts.alone.values(), parts.joint) for node in part.graph.node]
    assert sorted(where) == sorted(node.output[0] for node in model.graph.node)
    assert {port: [p.name for p in part.graph.input] for port, part in parts.alone.items()} == {"image": ["image"], "text": ["text"]}


def test_input_that_is_joined_at_once_is_read_as_it_is() -> None:
    node = helper.make_node
    cast = node("Cast", ["text"], ["numbers"], to=TensorProto.FLOAT)
    mean = node("ReduceMean", ["numbers", "axis"], ["mean"], keepdims=1)
    nodes = [cast, mean, node("Mul", ["image", "mean"], ["both"]), node("MatMul", ["both", "w_image"], ["wide"])]
    parts = split_by_input(model_of([*nodes, node("MatMul", ["wide", "w_out"], ["logits"])]))
    assert parts is not None
    assert list(parts.alone) == ["text"] and {p.name for p in parts.joint.graph.input} == {"image", "mean"}


def test_what_cannot_be_cut() -> None:
    node = helper.make_node
    one = [node("MatMul", ["image", "w_image"], ["state"]), node("MatMul", ["state", "w_out"], ["logits"])]
    assert split_by_input(model_of(one, ports=("image",))) is None
    with_length = [node("Shape", ["text"], ["size"]), node("Reshape", ["image", "size"], ["r"]), node("MatMul", ["r", "w"], ["logits"])]
    assert split_by_input(model_of(with_length)) is None


@pytest.mark.parametrize("axes", [None, [0], [0, 1]])
def test_graph_that_looks_across_the_rows_is_not_cut(axes: list[int] | None) -> None:
    node = helper.make_node
    given = {"axes": axes} if axes else {}
    nodes = [node("ReduceMax", ["image"], ["largest"], keepdims=0, **given), node("Div", ["image", "largest"], ["scaled"])]
    nodes += [
        node("Cast", ["text"], ["n"], to=TensorProto.FLOAT),
        node("ReduceMean", ["n", "axis"], ["m"]),
        node("Mul", ["scaled", "m"], ["b"]),
    ]
    assert (
        split_by_input(model_of([*nodes, node("MatMul", ["b", "w_image"], ["wide"]), node("MatMul", ["wide", "w_out"], ["logits"])]))
        is None
    )


def towers(*, half: bool = False) -> onnx.ModelProto:
    """logits = [image @ w_image, the mean over tokens of table[text]]; `half`: joined in float16 and cast behind that."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "text"], ["words"]),
        node("ReduceMean", ["words", "axis"], ["text_state"], keepdims=0),
        node("MatMul", ["image", "w_image"], ["image_state"]),
    ]
    states = ["image_state", "text_state"]
    if half:
        nodes += [node("Cast", [state], [f"{state}_half"], to=TensorProto.FLOAT16) for state in states]
        nodes += [
            node("Concat", [f"{state}_half" for state in states], ["both"], axis=1),
            node("Cast", ["both"], ["logits"], to=TensorProto.FLOAT),
        ]
    else:
        nodes.append(node("Concat", states, ["logits"], axis=1))
    return model_of(nodes)


@pytest.mark.parametrize("half", [False, True])
def test_towers_compute_their_part_of_the_whole(half: bool) -> None:
    model = towers(half=half)
    feeds = {"image": RANDOM.standard_normal((5, 4)).astype(np.float32), "text": RANDOM.integers(0, 10, (5, 3))}
    whole = ort.InferenceSession(model.SerializeToString()).run(["logits"], feeds)[0]
    cut = split_towers(model)
    parts = []
    for name, part in cut.items():
        onnx.checker.check_model(part)
        parts.append(ort.InferenceSession(part.SerializeToString()).run(["logits"], {name: feeds[name]})[0])
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    assert [*cut] == ["image", "text"] and {tensor.name for tensor in cut["image"].graph.initializer} == {"w_image"}


def test_a_model_that_joins_its_inputs_has_no_towers() -> None:
    with pytest.raises(CompressError, match="logits is not made of one vector for each of image, text"):
        split_towers(two_inputs(quantized=False))
