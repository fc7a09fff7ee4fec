import onnx
import pytest

from compress.errors import CompressError
from compress.graphs.coverage import int8_coverage
from compress.graphs.diverge import compare_outputs
from compress.graphs.dynamic import quantize_dynamic
from compress.graphs.trace import run_model


def test_quantize_dynamic_puts_every_linear_in_int8(float_mixer, texts, tmp_path):
    onnx.save(float_mixer, tmp_path / "float.onnx")
    out = tmp_path / "int8.onnx"
    assert quantize_dynamic(tmp_path / "float.onnx", out)
    assert {node.runs_as for node in int8_coverage(out).nodes} == {"DynamicQuantizeMatMul"}
    distance = compare_outputs(run_model(float_mixer, texts)["logits"], run_model(out, texts)["logits"])
    assert distance["agreement"] >= 0.95 and distance["relative"] < 0.03


def test_quantize_dynamic_leaves_convolutions_in_float(float_convnet, tmp_path):
    onnx.save(float_convnet, tmp_path / "float.onnx")
    assert quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    coverage = int8_coverage(tmp_path / "int8.onnx")
    assert [node.int8 for node in coverage.nodes] == [False] * 4 + [True]


def test_quantize_dynamic_refuses_a_quantized_model(int8_mixer, tmp_path):
    onnx.save(int8_mixer, tmp_path / "int8.onnx")
    with pytest.raises(CompressError, match="quantized already"):
        quantize_dynamic(tmp_path / "int8.onnx", tmp_path / "out.onnx")


def test_quantize_dynamic_leaves_a_model_without_linears_alone(builder, tmp_path):
    b = builder(quantized=False)
    b.node("Flatten", [b.conv("image", "only", 3, 4)], "logits")
    onnx.save(b.model({"image": (onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])}), tmp_path / "conv.onnx")
    assert not quantize_dynamic(tmp_path / "conv.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
