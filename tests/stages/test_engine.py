"""The engine stage: real TensorRT-RTX builds of an exported file's shape, what is promised against what is kept, skips."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from ports import io_spec

from compress.context import Context
from compress.device.runtimes import engine_worker
from compress.device.runtimes.process import supervise
from compress.device.runtimes.vendor import TensorRTError, TensorRTUnavailable
from compress.errors import EngineError
from compress.recipe.sections import Engine
from compress.stages import engine
from compress.stages.engine import build_engines, list_int8_layers, trtexec_lines
from compress.store.artifacts import OnnxModels

SPEC = io_spec(image_size=None, text_length=6, vocabulary=11, classes=3)
SHAPES = {"table": (11, 8), "first": (8, 8), "second": (8, 3)}
ZERO = np.int8(0)
FLOAT = """
<ir_version: 10, opset_import: ["" : 20]>
student (int64[batch,6] text) => (float[batch,3] logits) {
  [rows] rows = Gather (table, text)
  [mean] mean = ReduceMean <keepdims = 0> (rows, axes)
  [hidden] hidden = MatMul (mean, first)
  [active] active = Relu (hidden)
  [head] logits = MatMul (active, second)
}
"""
INT8 = """
<ir_version: 10, opset_import: ["" : 20]>
student (int64[batch,6] text) => (float[batch,3] logits) {
  rows = Gather (table, text)
  mean = ReduceMean <keepdims = 0> (rows, axes)
  mean_codes = QuantizeLinear (mean, scale, zero)
  mean_values = DequantizeLinear (mean_codes, scale, zero)
  first = DequantizeLinear <axis = 1> (first_codes, first_scale, first_zero)
  [hidden] hidden = MatMul (mean_values, first)
  active = Relu (hidden)
  active_codes = QuantizeLinear (active, scale, zero)
  active_values = DequantizeLinear (active_codes, scale, zero)
  second = DequantizeLinear <axis = 1> (second_codes, second_scale, second_zero)
  logits = MatMul (active_values, second)
}
"""


def save(path, text, arrays):
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
    onnx.save(model, path)
    return path


def save_float(path):
    random = np.random.default_rng(0)
    return save(path, FLOAT, {"axes": np.array([1]), **{n: random.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}})


def save_int8(path, *, zero=ZERO):
    random = np.random.default_rng(0)
    arrays = {"axes": np.array([1]), "table": random.normal(size=SHAPES["table"]).astype(np.float32)}
    arrays.update(scale=np.float32(0.05), zero=zero)
    for name in ("first", "second"):
        width = SHAPES[name][1]
        arrays[f"{name}_codes"] = random.integers(-127, 128, SHAPES[name]).astype(np.int8)
        arrays[f"{name}_scale"], arrays[f"{name}_zero"] = np.full(width, 0.01, np.float32), np.zeros(width, np.int8)
    return save(path, INT8, arrays)


@pytest.fixture
def needs_rtx():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")


def test_build_engines_writes_engines_and_their_facts(tmp_path, needs_rtx):
    models = {"fp32": save_float(tmp_path / "fp32.onnx"), "int8": save_int8(tmp_path / "int8.tensorrt.onnx")}
    said, out = [], tmp_path / "out"
    out.mkdir()
    record = build_engines(Engine(), models, io_spec=SPEC, out=out, say=said.append)
    names = ["engine.json", "fp32.layers.json", "fp32.rtx.engine", "int8.layers.json", "int8.rtx.engine"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "engine.json").read_text()) == record
    assert record["status"] == "built"
    assert record["engines"]["int8"]["engine_bytes"] == (out / "int8.rtx.engine").stat().st_size
    assert record["engines"]["fp32"]["int8"]["promised"] == []
    assert "2 of 2 int8 layers kept" in said[1]


def test_build_engines_keeps_every_promised_int8_layer(tmp_path, needs_rtx):
    out = tmp_path / "out"
    out.mkdir()
    record = build_engines(Engine(), {"int8": save_int8(tmp_path / "int8.onnx")}, io_spec=SPEC, out=out, say=lambda line: None)
    int8 = record["engines"]["int8"]["int8"]
    assert int8["promised"] == int8["kept"] == ["hidden", "node_of_logits"]  # the second product has no name of its own
    assert int8["share"] == 1.0
    assert len(int8["weights"]) >= 2


def test_build_engines_stops_where_the_engine_lost_int8(tmp_path, monkeypatch, needs_rtx):
    monkeypatch.setattr(engine, "list_int8_layers", lambda path: ["hidden", "gone"])
    with pytest.raises(EngineError, match=r"int8: 1 of 2 int8 layers are not int8 in the engine: gone\."):
        build_engines(Engine(), {"int8": save_int8(tmp_path / "int8.onnx")}, io_spec=SPEC, out=tmp_path, say=lambda line: None)


def test_build_engines_checks_the_contract_first(tmp_path):
    models = {"int8": save_int8(tmp_path / "int8.onnx", zero=np.uint8(0))}
    with pytest.raises(EngineError, match=r"int8 \(int8.onnx\): 4 violations.*(\n.*)*saturate in silence"):
        build_engines(Engine(), models, io_spec=SPEC, out=tmp_path, say=lambda line: None)
    assert not list(tmp_path.glob("*.engine"))


def test_build_engines_records_why_it_skipped(tmp_path, monkeypatch):
    refuse(monkeypatch, TensorRTUnavailable("no NVIDIA driver"))
    said = []
    record = build_engines(Engine(), {"fp32": save_float(tmp_path / "fp32.onnx")}, io_spec=SPEC, out=tmp_path, say=said.append)
    assert (record["status"], record["reason"]) == ("skipped", "no NVIDIA driver")
    assert "--stronglyTyped" in record["trtexec"]["fp32"]["tensorrt_10"]
    assert said == ["engine: skipped, no NVIDIA driver"]


def test_build_engines_fails_where_the_recipe_requires_an_engine(tmp_path, monkeypatch):
    refuse(monkeypatch, TensorRTUnavailable("no NVIDIA driver"))
    with pytest.raises(EngineError, match=r"engine.required is set: no NVIDIA driver"):
        build_engines(Engine(required=True), {"fp32": save_float(tmp_path / "fp32.onnx")}, io_spec=SPEC, out=tmp_path)


def test_build_engines_never_takes_a_crash_for_a_skip(tmp_path, monkeypatch):
    refuse(monkeypatch, TensorRTError("tensorrt_rtx: start crashed with SIGSEGV"))
    with pytest.raises(EngineError, match="crashed with SIGSEGV"):
        build_engines(Engine(), {"fp32": save_float(tmp_path / "fp32.onnx")}, io_spec=SPEC, out=tmp_path)


def test_tensorrt_is_skipped_where_it_cannot_build(tmp_path):
    try:
        engine_worker.describe_flavour("tensorrt")
    except TensorRTUnavailable as error:
        record = build_engines(Engine(flavour="tensorrt"), {"fp32": save_float(tmp_path / "m.onnx")}, io_spec=SPEC, out=tmp_path)
        assert (record["status"], record["reason"]) == ("skipped", str(error))
    else:
        pytest.skip("this machine can build TensorRT engines")


def test_list_int8_layers_ignores_float_weights(tmp_path):
    assert list_int8_layers(save_float(tmp_path / "fp32.onnx")) == []
    assert list_int8_layers(save_int8(tmp_path / "int8.onnx")) == ["hidden", "node_of_logits"]


def test_trtexec_lines_differ_in_the_flag_of_version_10():
    profiles = {
        "image": {"min": [1, 8, 8, 3], "opt": [4, 8, 8, 3], "max": [16, 8, 8, 3]},
        "text": {"min": [1, 6], "opt": [4, 6], "max": [16, 6]},
    }
    lines = trtexec_lines("int8", profiles=profiles, workspace_mib=64)
    assert lines["tensorrt_10"] == (
        "trtexec --onnx=int8.onnx --saveEngine=int8.engine --stronglyTyped --minShapes=image:1x8x8x3,text:1x6 "
        "--optShapes=image:4x8x8x3,text:4x6 --maxShapes=image:16x8x8x3,text:16x6 --memPoolSize=workspace:64 --timingCacheFile=timing.cache"
    )
    assert lines["tensorrt_11"] == lines["tensorrt_10"].replace(" --stronglyTyped", "")
    assert lines["measure"].startswith("trtexec --loadEngine=int8.engine --shapes=image:1x8x8x3,text:1x6 --useCudaGraph --useSpinWait")


def test_engine_stage_imports_without_vendor_modules():
    code = (
        "import sys, compress.stages.engine; sys.exit(', '.join({'tensorrt_rtx', 'tensorrt', 'onnx', 'torch'} & set(sys.modules)) or None)"
    )
    supervise([sys.executable, "-c", code], what="importing the engine stage", error=AssertionError)


def refuse(monkeypatch, error):
    def describe(flavour):
        raise error

    monkeypatch.setattr(engine, "describe_flavour", describe)


@pytest.mark.parametrize("required", [False, True])
def test_engine_that_fails_ends_the_run_where_it_is_required_and_is_a_reason_elsewhere(tmp_path, monkeypatch, required):
    def refuse(*arguments, **options):
        raise EngineError("int8: the parser refuses node 7")

    monkeypatch.setattr(engine, "build_engines", refuse)
    files = {"fp32": {"file": "fp32.onnx", "precision": "fp32"}}
    models = OnnxModels(io_spec=SPEC, path=tmp_path, details={"files": files, "unserved": {}}, files={"fp32.onnx": {}})
    recipe = SimpleNamespace(engine=Engine(required=required))
    if required:
        with pytest.raises(EngineError, match="node 7"):
            engine.engine(recipe, models, ctx=Context(tmp_path))
        return
    details = engine.engine(recipe, models, ctx=Context(tmp_path)).details
    assert (details["status"], details["reason"]) == ("skipped", "int8: the parser refuses node 7")
