import numpy as np
import pytest
from onnx import TensorProto

from compress.errors import CompressError
from compress.graphs.diverge import compare_outputs
from compress.graphs.half import before_logarithms, float16_share, overflowing_nodes, to_float16
from compress.graphs.trace import run_model


def test_float16_answers_like_float32(float_convnet, images):
    half = to_float16(float_convnet, feeds=images)
    distance = compare_outputs(run_model(float_convnet, images)["logits"], run_model(half, images)["logits"])
    assert distance["relative"] < 2e-3 and distance["agreement"] >= 0.98
    assert float16_share(half) == 1.0


def test_float16_keeps_the_ports(float_mixer):
    half = to_float16(float_mixer)
    assert [p.type.tensor_type.elem_type for p in (*half.graph.input, *half.graph.output)] == [TensorProto.FLOAT, TensorProto.FLOAT]


def test_float16_keeps_quantization_grids(int8_convnet, images):
    half = to_float16(int8_convnet, feeds=images)
    scales = [t for t in half.graph.initializer if t.name.endswith("_scale")]
    assert scales and {t.data_type for t in scales} == {TensorProto.FLOAT}
    reference = run_model(int8_convnet, images, optimise=False)["logits"]
    assert compare_outputs(reference, run_model(half, images)["logits"])["relative"] < 0.03


def _student(builder, factor=1.0):
    """uint8 pixels and int64 tokens, as a shipped graph has them; `factor` blows up what the wide layer makes."""
    b = builder(quantized=False)
    pixels = b.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    table = b.constant("table", b.random.standard_normal((10, 4)).astype(np.float32))
    words = b.node("ReduceMean", [b.node("Gather", [table, "text"], "vectors"), b.constant("axes", np.array([1]))], "words", keepdims=0)
    wide = b.node("Mul", [pixels, b.constant("factor", np.float32(factor))], "wide")
    narrow = b.node("Div", [wide, b.constant("divisor", np.float32(factor * 255))], "narrow")
    b.node("Add", [narrow, words], "logits")
    return b.model({"image": (TensorProto.UINT8, ["batch", 4]), "text": (TensorProto.INT64, ["batch", 3])})


def _raw():
    random = np.random.default_rng(0)
    return {"image": random.integers(0, 256, (8, 4), np.uint8), "text": random.integers(0, 10, (8, 3))}


def test_float16_leaves_integer_inputs_alone(builder):
    model = _student(builder)
    half = to_float16(model, feeds=_raw())
    assert [p.type.tensor_type.elem_type for p in half.graph.input] == [TensorProto.UINT8, TensorProto.INT64]
    assert compare_outputs(run_model(model, _raw())["logits"], run_model(half, _raw())["logits"])["max_difference"] < 5e-3


def test_overflowing_nodes_stay_in_float32(builder):
    model = _student(builder, factor=1000.0)  # 255 x 1000 is above 65504
    assert overflowing_nodes(model, _raw()) == ["wide", "narrow"]
    reference = run_model(model, _raw())["logits"]
    assert compare_outputs(reference, run_model(to_float16(model), _raw())["logits"])["max_difference"] > 0.1  # what it protects from
    assert compare_outputs(reference, run_model(to_float16(model, feeds=_raw()), _raw())["logits"])["max_difference"] < 5e-3


def test_nodes_that_stay_in_float32_may_share_a_constant(builder):
    b = builder(quantized=False)
    one = b.constant("one", np.float32(1))
    b.node("Max", [b.node("Sub", [b.node("Max", ["x", one], "above"), one], "left"), one], "logits")
    model, feeds = b.model({"x": (TensorProto.FLOAT, ["batch", 2])}), {"x": np.array([[0.5, 3.0]], np.float32)}
    assert run_model(to_float16(model, feeds=feeds), feeds)["logits"].tolist() == [[1.0, 2.0]]


def test_masks_are_no_overflow(builder):
    b = builder(quantized=False)
    b.node("Softmax", [b.node("Add", ["x", b.constant("mask", np.array([0, 0, -3.4e38], np.float32))], "masked")], "logits", axis=-1)
    model, feeds = b.model({"x": (TensorProto.FLOAT, ["batch", 3])}), {"x": np.ones((2, 3), np.float32)}
    assert overflowing_nodes(model, feeds) == []
    assert np.allclose(run_model(to_float16(model, feeds=feeds), feeds)["logits"], [0.5, 0.5, 0], atol=1e-3)


def test_unknown_node_to_keep_is_an_error(float_mixer):
    with pytest.raises(CompressError, match="no node is called head"):
        to_float16(float_mixer, keep_float32=("head",))


def test_what_a_logarithm_is_taken_of_stays_in_float32(builder):
    b = builder(quantized=False)
    power = b.node("Mul", [b.node("Mul", ["x", b.constant("scale", np.float32(1e-3))], "small"), "small"], "power")
    b.node("Mul", [b.node("Log", [power], "log"), b.constant("gain", np.float32(2))], "logits")
    model, feeds = b.model({"x": (TensorProto.FLOAT, ["batch", 2])}), {"x": np.array([[1e-3, 1.0], [1e-2, 1e-1]], np.float32)}
    assert set(before_logarithms(model)) == {"small", "power", "log"}  # 1e-12 is 0 in float16
    np.testing.assert_allclose(run_model(to_float16(model), feeds)["logits"], run_model(model, feeds)["logits"], rtol=1e-3)
