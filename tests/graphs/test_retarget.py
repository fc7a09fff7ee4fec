import numpy as np
import pytest
from onnx import TensorProto

from compress.errors import CompressError, EngineError, RecipeError
from compress.graphs.coverage import int8_coverage
from compress.graphs.diverge import compare_outputs
from compress.graphs.graph import Graph
from compress.graphs.linear import own_weights
from compress.graphs.retarget import TARGETS, is_non_negative, retarget
from compress.graphs.trace import run_model

ONNXRUNTIME = [name for name, target in TARGETS.items() if target.unsigned]


@pytest.mark.parametrize("target", ONNXRUNTIME)
def test_retarget_keeps_the_convnets_answers(int8_convnet, images, target):
    reference = run_model(int8_convnet, images, optimise=False)["logits"]
    fast = run_model(retarget(int8_convnet, target), images)["logits"]
    distance = compare_outputs(reference, fast)
    assert distance["agreement"] >= 0.98 and distance["relative"] < 0.02  # finer steps after ReLU, so not equal


def test_retarget_keeps_the_mixers_answers(int8_mixer, texts):
    reference = run_model(int8_mixer, texts, optimise=False)["logits"]
    distance = compare_outputs(reference, run_model(retarget(int8_mixer, "onnxruntime_x86"), texts)["logits"])
    assert distance["agreement"] >= 0.98 and distance["relative"] < 0.02


def test_retargeted_convnet_runs_every_layer_in_int8(int8_convnet):
    coverage = int8_coverage(retarget(int8_convnet, "onnxruntime_x86"))
    assert [node.runs_as for node in coverage.nodes] == ["QLinearConv"] * 4 + ["QGemm"]
    assert coverage.operators.get("Relu", 0) == coverage.operators.get("Clip", 0) == 0
    assert coverage.operators["QLinearAdd"] == 1 and coverage.share == 1.0


def test_symmetric_convnet_loses_its_activated_layers_to_float(int8_convnet):
    coverage = int8_coverage(int8_convnet)
    assert not any(node.int8 for node in coverage.nodes if node.name in ("stem", "deep", "last", "logits"))


def test_retargeted_mixer_runs_every_linear_in_int8(int8_mixer):
    coverage = int8_coverage(retarget(int8_mixer, "onnxruntime_x86"))
    assert [node.runs_as for node in coverage.nodes] == ["MatMulIntegerToFloat", "MatMulIntegerToFloat", "QGemm"]


def test_retarget_folds_weight_transposes_into_int8(int8_mixer):
    model = retarget(int8_mixer, "onnxruntime_x86")
    assert "Transpose" not in {node.op_type for node in model.graph.node}
    shapes = {t.name: (tuple(t.dims), t.data_type) for t in model.graph.initializer}
    assert shapes["up_w_codes_t"] == ((16, 32), TensorProto.INT8)


def test_signed_activation_keeps_its_scale_and_relu_gets_the_finer_one(int8_convnet):
    graph = Graph(retarget(int8_convnet, "onnxruntime_x86"))
    signed, positive = graph.producers["left_q"], graph.producers["stem_relu_q"]
    assert graph.input_value(signed, 2) == np.uint8(128) and graph.input_value(signed, 1) == np.float32(4 / 127)
    assert graph.input_value(positive, 2) == np.uint8(0)
    assert graph.input_value(positive, 1) == pytest.approx(3 / 255, rel=1e-6)  # 3/127 * 127/255


def test_clip_bound_limits_the_scale_so_that_the_clip_is_absorbed(int8_convnet):
    graph = Graph(retarget(int8_convnet, "onnxruntime_x86"))
    scale = graph.input_value(graph.producers["deep_clip_q"], 1)
    assert scale * np.float32(255) <= np.float32(6) and scale == pytest.approx(6 / 255, rel=1e-6)  # observed 6.2, clipped at 6


def test_pooled_activation_shares_the_grid_of_what_it_pools(int8_convnet):
    graph = Graph(retarget(int8_convnet, "onnxruntime_x86"))
    assert graph.input_value(graph.producers["pool_q"], 1) == graph.input_value(graph.producers["deep_clip_q"], 1)


def test_non_negative_is_traced_through_pooling_and_quantizers(int8_convnet):
    graph = Graph(int8_convnet)
    assert is_non_negative(graph, "flat") and not is_non_negative(graph, "total") and not is_non_negative(graph, "image")


def test_tensorrt_model_is_unchanged(int8_convnet):
    assert retarget(int8_convnet, "tensorrt") == int8_convnet


def test_tensorrt_refuses_the_onnxruntime_file(int8_convnet):
    with pytest.raises(EngineError, match="left_q.*uint8 activations"):
        retarget(retarget(int8_convnet, "onnxruntime_x86"), "tensorrt")


def test_unknown_target_lists_the_known_ones(int8_convnet):
    with pytest.raises(RecipeError, match="'npu'.*onnxruntime_arm"):
        retarget(int8_convnet, "npu")


def test_asymmetric_activation_is_named(int8_convnet, edit):
    edit(int8_convnet, "left_zero", np.int8(3))
    with pytest.raises(CompressError, match="left_q: int8 zero point"):
        retarget(int8_convnet, "onnxruntime_x86")


def test_retarget_leaves_its_input_alone(int8_convnet):
    before = int8_convnet.SerializeToString(deterministic=True)
    retarget(int8_convnet, "onnxruntime_x86")
    assert int8_convnet.SerializeToString(deterministic=True) == before


def test_unsigned_weights_give_the_same_answers_as_signed_ones(int8_convnet, images):
    signed = run_model(retarget(int8_convnet, "onnxruntime_x86"), images)["logits"]
    unsigned = retarget(int8_convnet, "onnxruntime_x86", unsigned_weights=True)
    assert int8_coverage(unsigned).share == 1.0
    assert np.array_equal(run_model(unsigned, images)["logits"], signed)


def test_dead_channel_keeps_its_bias(int8_convnet, images, edit):
    graph = Graph(int8_convnet)
    scale, codes = graph.value("left_w_scale").copy(), graph.value("left_w_codes").copy()
    scale[2], codes[2] = 1e-12, 0  # its bias would need more than int32 at 1e-12 x input scale
    edit(edit(int8_convnet, "left_w_scale", scale), "left_w_codes", codes)
    reference = run_model(int8_convnet, images, optimise=False)["logits"]
    distance = compare_outputs(reference, run_model(retarget(int8_convnet, "onnxruntime_x86"), images)["logits"])
    assert distance["relative"] < 0.02


def test_large_weights_do_not_saturate(builder):
    b = builder(quantized=True)
    x = b.activation("x", 1.0)
    b.weight("w", (64, 4), 1, 1.0)
    b.constants["w_codes"] = np.full((64, 4), 127, np.int8)
    b.node("Identity", [b.node("MatMul", [x, "w"], "y")], "logits")
    model = b.model({"x": (TensorProto.FLOAT, ["batch", 64])})
    feeds = {"x": np.ones((2, 64), np.float32)}  # 255 x 127 twice is 64770, above the 32767 of a 16-bit sum
    reference = run_model(model, feeds, optimise=False)["logits"]
    assert np.allclose(run_model(retarget(model, "onnxruntime_x86"), feeds)["logits"], reference, rtol=1e-5)


def test_tied_weights_load_and_run_in_int8(builder):
    b = builder(quantized=True)
    x, w = b.activation("image", 4.0), b.weight("w", (8, 8, 3, 3), 0, 0.1)
    for name in ("first", "second"):
        x = b.activation(b.node("Conv", [x, w], name, pads=[1] * 4), 4.0)
    b.node("Flatten", [x], "logits")
    model = b.model({"image": (TensorProto.FLOAT, ["batch", 8, 6, 6])})
    assert int8_coverage(retarget(model, "onnxruntime_x86")).share == int8_coverage(model).share == 1.0


def test_shared_zero_points_of_transposed_weights_are_taken_apart(int8_mixer):
    graph = Graph(int8_mixer)
    graph.producers["down_w"].input[2] = "up_w_zero"
    graph.producers["down_w"].input[1] = "up_w_scale"  # a scale may be shared
    graph.producers["down_w"].input[0] = "up_w_codes"
    graph.refresh()
    own_weights(graph)
    up, down = graph.producers["up_w"], graph.producers["down_w"]
    assert up.input[0] != down.input[0] and up.input[2] != down.input[2] and up.input[1] == down.input[1]
    assert np.array_equal(graph.value(up.input[0]), graph.value(down.input[0]))


@pytest.mark.parametrize("target", ONNXRUNTIME)
def test_pixels_on_the_int8_grid_are_read_as_bytes(byte_reader, target):
    model = byte_reader()
    pixels = {"pixels": np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)}
    fast = retarget(model, target)
    assert [node.op_type for node in fast.graph.node][:2] == ["Transpose", "DequantizeLinear"]
    assert not {"Cast", "Mul", "Add"} & {node.op_type for node in fast.graph.node}
    distance = compare_outputs(run_model(model, pixels, optimise=False)["logits"], run_model(fast, pixels)["logits"])
    assert distance["relative"] < 0.02


@pytest.mark.parametrize("changed", [{"step": 1 / 60}, {"gain": 1 / 60}, {"shift": -1.9}])
def test_pixels_on_another_grid_keep_their_arithmetic(byte_reader, changed):
    operators = [node.op_type for node in retarget(byte_reader(**changed), "onnxruntime_x86").graph.node]
    assert operators[:5] == ["Cast", "Transpose", "Mul", "Add", "QuantizeLinear"]


def test_tensorrt_keeps_the_arithmetic_on_pixels(byte_reader):
    assert "Cast" in {node.op_type for node in retarget(byte_reader(), "tensorrt").graph.node}  # it takes no unsigned int8


def test_grid_of_fewer_than_8_bits_is_kept(builder):
    b = builder(quantized=True)
    # 4 bits: 7 steps of 6 / 7 up to where the Clip ends; a finer grid would be another student than the one that was trained
    x = b.conv(b.activation("image", 4.0), "stem", 3, 8, act="Clip", high=6 * 127 / 7)
    b.gemm(b.node("Flatten", [b.node("GlobalAveragePool", [x], "mean")], "flat"), "logits", 8, 5)
    graph = Graph(retarget(b.model({"image": (TensorProto.FLOAT, ["batch", 3, 16, 16])}), "onnxruntime_x86"))
    node = graph.producers["stem_clip_dq"]
    assert graph.input_value(node, 1) == pytest.approx(6 / 7)
    assert graph.input_value(node, 2) == np.uint8(0)
