import json

import pytest
from onnx import TensorProto

from compress.errors import CompressError
from compress.graphs.coverage import NOT_QUANTIZED, int8_coverage
from compress.graphs.retarget import retarget


def test_multiply_adds_of_the_convnet_at_batch_1(int8_convnet):
    counted = {node.name: node.multiply_adds for node in int8_coverage(int8_convnet).nodes}
    assert counted == {
        "stem": 16 * 16 * 8 * 3 * 9,  # outputs H x W x O, each the sum of C x 3 x 3 products
        "left": 16 * 16 * 8 * 8 * 9,
        "deep": 8 * 8 * 8 * 1 * 9,  # stride 2, depthwise: one input channel a group
        "last": 4 * 4 * 16 * 8 * 9,  # after the pool
        "logits": 16 * 5,
    }


def test_share_weighs_by_multiply_adds(builder):
    b = builder(quantized=True)
    x = b.activation("image", 4.0)
    half = b.conv(x, "first", 3, 4, act=None)
    b.quantized = False
    b.conv(half, "second", 4, 8, act=None)
    b.node("Flatten", ["second"], "logits")
    model = b.model({"image": (TensorProto.FLOAT, ["batch", 3, 8, 8])})
    coverage = int8_coverage(retarget(model, "onnxruntime_x86"))
    first, second = 64 * 4 * 3 * 9, 64 * 8 * 4 * 9
    assert coverage.share == first / (first + second)
    assert coverage.nodes[1].reason == "Q/DQ not fused: its weight is not quantized"


def test_float_model_is_not_quantized(float_convnet):
    coverage = int8_coverage(float_convnet)
    assert coverage.share == 0 and {node.reason for node in coverage.nodes} == {NOT_QUANTIZED}


def test_unabsorbed_relu_is_the_reason(int8_convnet):
    reasons = {node.name: node.reason for node in int8_coverage(int8_convnet).nodes}
    assert "Relu is absorbed only by" in reasons["stem"] and "Clip is absorbed" in reasons["deep"]
    assert "int32 bias" in reasons["logits"]


def test_leftover_pairs_shrink_with_retargeting(int8_convnet):
    before, after = int8_coverage(int8_convnet), int8_coverage(retarget(int8_convnet, "onnxruntime_x86"))
    assert (before.leftover_pairs, after.leftover_pairs) == (8, 1)  # 1: the global pool runs in float


def test_coverage_is_plain_data(int8_mixer):
    coverage = int8_coverage(int8_mixer)
    data = json.loads(json.dumps(coverage.to_json()))
    assert data["multiply_adds"] == 6 * 16 * 32 * 2 + 16 * 4 and data["nodes"][0]["runs_as"] == "MatMulIntegerToFloat"


def test_refused_file_is_a_clear_error(float_convnet):
    float_convnet.graph.node[0].op_type = "Convolve"
    with pytest.raises(CompressError, match="ONNX Runtime refuses"):
        int8_coverage(float_convnet)
