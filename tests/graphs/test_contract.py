import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import EngineError
from compress.graphs.contract import check_tensorrt, require_tensorrt
from compress.graphs.graph import Graph
from compress.graphs.retarget import retarget


def named(model, name):
    return next(node for node in model.graph.node if node.name == name)


def problems(model):
    return [(violation.node, violation.problem) for violation in check_tensorrt(model)]


def test_symmetric_models_pass(int8_convnet, int8_mixer, float_convnet):
    assert [check_tensorrt(model) for model in (int8_convnet, int8_mixer, float_convnet)] == [[], [], []]


def test_nonzero_zero_point_is_refused(int8_convnet, edit):
    found = problems(edit(int8_convnet, "left_zero", np.int8(5)))
    assert found == [("left_q", "zero point 5, not 0"), ("left_dq", "zero point 5, not 0")]


def test_uint8_activation_is_refused_even_with_zero_point_0(int8_convnet, edit):
    found = problems(edit(int8_convnet, "stem_relu_zero", np.uint8(0)))
    assert [node for node, _ in found] == ["stem_relu_q", "stem_relu_dq"] and "uint8 activations: codes above 127" in found[0][1]


def test_uint8_weight_is_refused(int8_convnet, edit):
    edit(int8_convnet, "left_w_codes", np.zeros((8, 8, 3, 3), np.uint8))
    assert problems(edit(int8_convnet, "left_w_zero", np.zeros(8, np.uint8))) == [("left_w", "uint8 weights")]


def test_int32_bias_is_refused(int8_convnet):
    node = Graph(retarget(int8_convnet, "onnxruntime_x86")).producers["logits"].input[2]
    assert (node, "int32 bias behind DequantizeLinear") in problems(retarget(int8_convnet, "onnxruntime_x86"))


def test_per_channel_activation_is_refused(int8_convnet, edit):
    edit(int8_convnet, "left_scale", np.full(8, 0.1, np.float32))
    found = problems(edit(int8_convnet, "left_zero", np.zeros(8, np.int8)))
    assert found == [("left_q", "8 scales for one activation"), ("left_dq", "8 scales for one activation")]


@pytest.mark.parametrize("layer", ["left", "logits"])
def test_wrong_weight_axis_is_refused(int8_convnet, layer):
    named(int8_convnet, f"{layer}_w").attribute[0].i = 1
    assert problems(int8_convnet) == [(f"{layer}_w", f"weight of {layer} is per channel on axis 1, its output channels are axis 0")]


def test_wrong_axis_is_seen_through_a_transpose(int8_mixer):
    named(int8_mixer, "up_w").attribute[0].i = 1
    assert problems(int8_mixer) == [("up_w", "weight of up_product is per channel on axis 0, its output channels are axis 1")]


def test_contrib_operator_is_refused(int8_convnet):
    named(int8_convnet, "total").domain = "com.microsoft"
    assert problems(int8_convnet) == [("total", "operator com.microsoft::Add is not ONNX's own")]


def test_integer_operator_is_refused(int8_convnet):
    int8_convnet.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["logits"], ["a", "b", "c"], name="dynamic"))
    assert problems(int8_convnet) == [("dynamic", "operator DynamicQuantizeLinear")]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_port_type_is_refused(int8_convnet, kind):
    port = getattr(int8_convnet.graph, kind)[0]
    port.type.tensor_type.elem_type = TensorProto.DOUBLE
    assert problems(int8_convnet) == [(port.name, f"{kind} of type DOUBLE")]


def test_missing_zero_point_is_refused(int8_convnet):
    del named(int8_convnet, "left_q").input[2]
    assert problems(int8_convnet) == [("left_q", "zero point missing, which means uint8")]


def test_computed_zero_point_and_scale_are_refused(int8_convnet):
    kept = [t for t in int8_convnet.graph.initializer if t.name not in ("left_zero", "left_scale")]
    del int8_convnet.graph.initializer[:]
    int8_convnet.graph.initializer.extend(kept)
    assert {text for _, text in problems(int8_convnet)} == {"zero point is computed", "scale is computed"}


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_unusable_scale_is_refused(int8_convnet, edit, scale):
    found = problems(edit(int8_convnet, "left_scale", np.float32(scale)))
    assert found[0] == ("left_q", f"scale {scale} is not a positive number")


def test_codes_read_by_another_operator_are_refused(int8_convnet):
    int8_convnet.graph.node.append(helper.make_node("Cast", ["left_q"], ["codes"], to=TensorProto.FLOAT))
    assert problems(int8_convnet) == [("left_q", "its codes go to Cast")]


def test_embedding_table_may_be_per_column(builder):
    b = builder(quantized=True)
    table, scale = b.constant("table", np.ones((9, 4), np.int8)), b.constant("scale", np.full(4, 0.1, np.float32))
    rows = b.node("Gather", [table, "text"], "rows")
    b.node("DequantizeLinear", [rows, scale, b.constant("zero", np.zeros(4, np.int8))], "vectors", axis=2)
    b.node("ReduceMean", ["vectors", b.constant("axes", np.array([1]))], "logits", keepdims=0)
    assert check_tensorrt(b.model({"text": (TensorProto.INT64, ["batch", 6])})) == []


def test_require_lists_every_violation_with_its_way_out(int8_convnet, edit):
    with pytest.raises(EngineError, match="student.onnx: 2 violations(.|\n)*left_dq: zero point 5, not 0. Retarget"):
        require_tensorrt(edit(int8_convnet, "left_zero", np.int8(5)), name="student.onnx")


def test_violations_do_not_depend_on_constant_nodes(int8_convnet):
    tensor = next(t for t in int8_convnet.graph.initializer if t.name == "left_zero")
    int8_convnet.graph.initializer.remove(tensor)
    value = numpy_helper.from_array(np.int8(0))
    int8_convnet.graph.node.insert(0, helper.make_node("Constant", [], ["left_zero"], value=value))
    onnx.checker.check_model(int8_convnet)
    assert check_tensorrt(int8_convnet) == []
