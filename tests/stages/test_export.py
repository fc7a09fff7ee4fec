"""The export stages on a trained student: the files agree with torch, and a fault planted in any hop is found and named."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from compress.cli import app
from compress.context import Context
from compress.data.prepared import open_data
from compress.errors import CompressError, ParityError
from compress.graphs.trace import run_model
from compress.models.saved import load_model
from compress.pipeline import STAGES
from compress.quantizers.fake_quant import ActivationQuant
from compress.quantizers.saved import open_quantized
from compress.recipe.grammar import load_recipe
from compress.stages import export as stage
from compress.stages.export.from_torch import first_lost_layer, run_torch, take_codes, unsigned_codes
from compress.store.ingredients import only
from compress.training.rows import sample_feeds, sample_rows

Fault = Callable[[onnx.ModelProto], None]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def exported() -> dict[bytes, onnx.ModelProto]:
    """Graphs by the weights that they were exported from: the exporter takes seconds, and these tests are about what follows it."""
    return {}


@pytest.fixture
def exporting_once(exported: dict[bytes, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets torch's exporter run once for each model."""
    real = stage.export_module

    def export_once(model: torch.nn.Module, *arguments):
        key = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
        if key not in exported:
            exported[key] = real(model, *arguments)
        return copy.deepcopy(exported[key])

    monkeypatch.setattr(stage, "export_module", export_once)


@pytest.fixture
def call(whole_run, exporting_once: None, tmp_path: Path) -> Callable[..., Any]:
    """Runs the stage `export` of the finished run once more, with overrides of its recipe, and into a folder of its own."""
    made = whole_run.result.artifacts

    def run(*overrides: str, quantized: bool = True):
        recipe = only(
            load_recipe(whole_run.recipe, ["export.mobile=[]", "benchmark.runtimes=[]", *overrides]).recipe, STAGES["export"].reads
        )
        ctx = Context(tmp_path, say=lambda line: None)
        return stage.export(recipe, made["distill"], made["quantize"] if quantized else None, open_data(made["data"].path), ctx=ctx)

    return run


@pytest.fixture(scope="module")
def forms(whole_run) -> SimpleNamespace:
    """What the finished run holds: torch models, the graphs of the export, real inputs."""
    made = whole_run.result.artifacts
    student, quantize = made["distill"], load_recipe(whole_run.recipe, []).recipe.quantize
    assert quantize
    feeds, _ = sample_feeds(open_data(made["data"].path).split("test"), student.io_spec, student.path, 24)
    graph = {name: onnx.load(made["export"].file(entry["file"])) for name, entry in made["export"].details["files"].items()}
    fake = open_quantized(student.path, made["quantize"].path / "qat", quantize)
    return SimpleNamespace(model=load_model(student.path), fake=fake, graph=graph, feeds=feeds)


def constant(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if tensor.name == name)


def replace(tensor: onnx.TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array, order="C"), tensor.name))


def weights(graph: onnx.ModelProto, op_type: str) -> list[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Nodes of that type with their constant weights."""
    found = {tensor.name: tensor for tensor in graph.graph.initializer}
    return [(node, found[node.input[1]]) for node in graph.graph.node if node.op_type == op_type and node.input[1] in found]


def activation_scales(graph: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The scales of the QuantizeLinear nodes, in graph order, each once."""
    names = dict.fromkeys(node.input[1] for node in graph.graph.node if node.op_type == "QuantizeLinear")
    return [constant(graph, name) for name in names]


def transpose_weight(graph: onnx.ModelProto) -> None:
    """The axes of one square linear weight of the float graph swapped."""
    node, tensor = next((n, t) for n, t in weights(graph, "MatMul") + weights(graph, "Gemm") if len(t.dims) == 2 and t.dims[0] == t.dims[1])
    replace(tensor, numpy_helper.to_array(tensor).T)


def flip_kernel(graph: onnx.ModelProto) -> None:
    """The spatial axes of one convolution's kernel swapped."""
    _, tensor = next((n, t) for n, t in weights(graph, "Conv") if t.dims[2] > 1)
    replace(tensor, numpy_helper.to_array(tensor).transpose(0, 1, 3, 2))


def shrink_scale(graph: onnx.ModelProto) -> None:
    """The last activation scale a fifth of what it was: what the head's last layer reads saturates."""
    tensor = activation_scales(graph)[-1]
    replace(tensor, numpy_helper.to_array(tensor) / np.float32(5))


def plant(monkeypatch: pytest.MonkeyPatch, place: str, fault: Fault, *, only_quantized: bool) -> None:
    """Lets a function of the stage that gives a graph give a faulty one."""
    real = getattr(stage, place)

    def faulty(*arguments):
        graph = real(*arguments)
        if not only_quantized or any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
            fault(graph)
        return graph

    monkeypatch.setattr(stage, place, faulty)


def test_float_file_gives_torchs_logits(forms: SimpleNamespace) -> None:
    got = run_model(forms.graph["fp32"], forms.feeds)["logits"]
    np.testing.assert_allclose(got, run_torch(forms.model, forms.feeds), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["int8_qat", "int8_qat-onnxruntime_arm", "int8_qat-tensorrt"])
def test_int8_file_as_written_gives_the_logits_of_torch_in_its_codes(forms: SimpleNamespace, name: str) -> None:
    written, symmetric = forms.graph[name], forms.graph["int8_qat-tensorrt"]
    assert take_codes(forms.fake, unsigned_codes(symmetric, written), {m: x[:4] for m, x in forms.feeds.items()})
    unsigned = [q for q in forms.fake.modules() if isinstance(q, ActivationQuant) and q.unsigned.on]
    assert bool(unsigned) == (name != "int8_qat-tensorrt")
    expected, got = run_torch(forms.fake, forms.feeds), run_model(written, forms.feeds, optimise=False)["logits"]
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02 * float(np.abs(expected).max()))  # a code at an edge may flip


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8_ptq", "int8_qat", "int8_qat-onnxruntime_arm", "int8_qat-tensorrt"])
def test_every_batch_size_gives_the_same_rows(forms: SimpleNamespace, name: str) -> None:
    graph = forms.graph[name]
    together = run_model(graph, forms.feeds)["logits"]
    assert together.dtype == np.float32
    alone = np.concatenate([run_model(graph, {m: x[i : i + 1] for m, x in forms.feeds.items()})["logits"] for i in range(3)])
    np.testing.assert_allclose(alone, together[:3], rtol=1e-2, atol=2e-3)


def test_files_hold_nothing_of_the_machine_that_wrote_them(whole_run) -> None:
    for entry in whole_run.result.artifacts["export"].details["files"].values():
        content = whole_run.result.artifacts["export"].file(entry["file"]).read_bytes()
        assert b"site-packages" not in content
        model = onnx.load_model_from_string(content)
        for weights in model.graph.initializer:  # among whose bytes these three may stand by chance
            weights.ClearField("raw_data")
        assert b".py" not in model.SerializeToString()


def test_int8_files_are_a_fraction_of_the_float_one(whole_run) -> None:
    artifact = whole_run.result.artifacts["export"]
    files = {name: artifact.file(entry["file"]).stat().st_size for name, entry in artifact.details["files"].items()}
    assert set(artifact.details["sizes"]) == set(files)
    assert files["fp16"] < 0.7 * files["fp32"]
    assert files["int8_qat"] < 0.6 * files["fp32"]


def test_rows_come_from_the_next_splits_where_test_has_too_few(whole_run) -> None:
    made = whole_run.result.artifacts
    data, student = open_data(made["data"].path), made["distill"]
    few = len(data.split("test"))
    feeds, labels = sample_rows(data, student.io_spec, student.path, few + 5)
    assert {len(array) for array in [*feeds.values(), labels]} == {few + 5}
    np.testing.assert_array_equal(labels[:few], data.split("test").labels)
    first, _ = sample_feeds(data.split("validation"), student.io_spec, student.path, 5)
    np.testing.assert_array_equal(feeds["text"][few:], first["text"])


@pytest.mark.parametrize("form", ["model", "fake"])
def test_no_layer_of_a_sound_export_is_lost(forms: SimpleNamespace, form: str) -> None:
    graph = forms.graph["fp32" if form == "model" else "int8_qat-tensorrt"]
    assert first_lost_layer(getattr(forms, form), graph, forms.feeds) is None


@pytest.mark.parametrize(
    ("fault", "layer"), [(transpose_weight, r"encoders\.text\.layers\.0\.attention\.\w+"), (flip_kernel, r"encoders\.image\.body\.0\.conv")]
)
def test_fault_in_the_float_graph_ends_the_run_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch, fault: Fault, layer: str) -> None:
    plant(monkeypatch, "export_module", fault, only_quantized=False)
    with pytest.raises(ParityError, match=rf"^parity: torch fp32 -> ONNX Runtime fp32 on 32 rows: .*first layer that diverges: {layer}$"):
        call(quantized=False)


FLOAT = {"fp32", "fp16"}
WRONG_GRID = r"first layer that diverges: \S+ \(DequantizeLinear\): its int8 codes stand for"


def test_wrong_scale_in_the_quantized_graph_leaves_out_all_files_of_the_method_and_names_the_layer(call, monkeypatch) -> None:
    plant(monkeypatch, "export_module", shrink_scale, only_quantized=True)
    details = call().details
    assert set(details["files"]) == {*FLOAT, "int8_dynamic"}
    assert set(details["left_out"]) == {
        f"int8_{method}{target}" for method in ("ptq", "qat") for target in ("", "-onnxruntime_arm", "-tensorrt")
    }
    expected = rf"^parity: fake-quantized torch \(ptq\) -> ONNX as written \(ptq\) on 32 rows: .*{WRONG_GRID}"
    assert re.search(expected, details["left_out"]["int8_ptq-tensorrt"])
    assert set(details["unserved"]) == {"onnxruntime_x86", "onnxruntime_arm", "tensorrt"}


def test_wrong_scale_in_one_targets_files_leaves_out_these_and_names_the_layer(call, tmp_path: Path, monkeypatch) -> None:
    real = stage.retarget

    def faulty(model: onnx.ModelProto, target: str) -> onnx.ModelProto:
        graph = real(model, target)
        if target == "tensorrt":
            shrink_scale(graph)
        return graph

    monkeypatch.setattr(stage, "retarget", faulty)
    details = call().details
    assert set(details["left_out"]) == {"int8_ptq-tensorrt", "int8_qat-tensorrt"}
    assert list(details["unserved"]) == ["tensorrt"]
    expected = rf"^int8_ptq-tensorrt: parity: fake-quantized torch \(ptq\) -> tensorrt file \(ptq\) on 32 rows: .*{WRONG_GRID}.*; int8_qat-tensorrt: parity"
    assert re.search(expected, details["unserved"]["tensorrt"])
    assert {path.stem for path in tmp_path.glob("*.onnx")} == set(details["files"]) == set(details["sizes"])
    assert [record["passed"] for record in details["parity"]].count(False) == 2


def test_one_method_of_two_is_enough_for_a_target(call, monkeypatch) -> None:
    real, calls = stage.retarget, []

    def faulty(model: onnx.ModelProto, target: str) -> onnx.ModelProto:
        graph = real(model, target)
        calls.append(target)
        if calls.count(target) == 1:  # of ptq, which comes first
            shrink_scale(graph)
        return graph

    monkeypatch.setattr(stage, "retarget", faulty)
    details = call().details
    assert set(details["left_out"]) == {"int8_ptq", "int8_ptq-onnxruntime_arm", "int8_ptq-tensorrt"}
    assert details["unserved"] == {}
    assert set(details["coverage"]) == {"int8_qat"}


def negate_last_weight(half: onnx.ModelProto) -> None:
    _, tensor = (weights(half, "Gemm") or weights(half, "MatMul"))[-1]
    replace(tensor, -numpy_helper.to_array(tensor))


def plant_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage.to_float16

    def faulty(model, *, feeds):
        half = real(model, feeds=feeds)
        negate_last_weight(half)
        return half

    monkeypatch.setattr(stage, "to_float16", faulty)


def test_wrong_weight_in_float16_leaves_out_the_file_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_in_float16(monkeypatch)
    details = call(quantized=False).details
    assert set(details["files"]) == {"fp32"}
    assert re.search(
        r"^parity: ONNX Runtime fp32 -> ONNX Runtime fp16 .*first layer that diverges: \S+ \((Gemm|MatMul)\): off by",
        details["left_out"]["fp16"],
    )
    assert details["unserved"] == {}


def test_file_that_cannot_be_made_is_left_out_with_the_reason(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments, **options):
        raise CompressError("float16: the converted graph is not valid ONNX")

    monkeypatch.setattr(stage, "to_float16", refuse)
    assert call(quantized=False).details["left_out"] == {"fp16": "float16: the converted graph is not valid ONNX"}


def test_student_that_was_not_quantized_has_float_files_alone(call) -> None:
    details = call("quantize=null", quantized=False).details
    assert set(details["files"]) == FLOAT
    assert details["left_out"] == details["unserved"] == {}


def test_too_little_int8_leaves_out_the_file(whole_run, call) -> None:
    measured = whole_run.result.artifacts["export"].details["coverage"]
    assert set(measured) == {"int8_ptq", "int8_qat"}
    assert 0.5 < measured["int8_qat"]["share"] < 1
    details = call("quantize.min_int8_coverage=1").details
    assert set(details["left_out"]) == {"int8_ptq", "int8_qat"}
    assert re.fullmatch(
        r"\d\d\.\d % of the multiply-adds run in int8, quantize\.min_int8_coverage asks for 100 %; take layers off quantize\.keep_float",
        details["left_out"]["int8_qat"],
    )
    assert list(details["unserved"]) == ["onnxruntime_x86"]
    assert {"int8_qat-tensorrt", "int8_qat-onnxruntime_arm"} < set(details["files"])


def test_mobile_file_with_other_answers_is_left_out(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model, io, out: Path) -> Path:
        out.parent.mkdir()
        out.write_bytes(b"TFL3")
        return out

    class Session:
        def run(self, feeds):
            return {"logits": np.zeros((len(feeds["text"]), 13), np.float32)}

    monkeypatch.setattr(stage, "to_litert", write)
    monkeypatch.setattr(stage, "open_session", lambda path, runtime: Session())
    details = call("export.mobile=[litert]", quantized=False).details
    assert re.search(r"^parity: torch fp32 -> LiteRT fp32 ", details["mobile_skipped"]["mobile/fp32.tflite"])
    assert details["mobile"] == []
    assert not list((tmp_path / "mobile").iterdir())


def end_of_run(own_run, *overrides: str, first: str | None = "export") -> Any:
    """What `compress run --from export` prints and ends with; `first` None: what is in the store is taken from there."""
    words = [word for override in ("export.mobile=[]", "benchmark.runtimes=[]", *overrides) for word in ("-o", override)]
    arguments = ["run", own_run.recipe, "--runs", own_run.runs, "--threads", 1, *(["--from", first] if first else []), *words]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_run_with_a_fault_in_float16_ends_with_a_bundle_and_exit_code_0(own_run, exporting_once, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_in_float16(monkeypatch)
    done = end_of_run(own_run, "quantize=null", "engine=null")
    assert done.exit_code == 0, done.output
    run = own_run.runs / "small"
    assert "fp16, which is left out" in (run / "11-report" / "report.html").read_text()
    assert "ONNX Runtime fp32 -&gt; ONNX Runtime fp16" in (run / "11-report" / "report.html").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert list(summary["left_out"]) == ["fp16"]
    table = json.loads((run / "12-bundle" / "bundle" / "models.json").read_text())
    assert [model["name"] for model in table["models"]] == ["fp32"]


def test_run_whose_tensorrt_files_failed_ends_with_report_bundle_and_the_parity_exit_code(own_run, exporting_once, monkeypatch) -> None:
    plant(monkeypatch, "retarget", shrink_scale, only_quantized=True)
    done = end_of_run(own_run, "export.targets=[tensorrt]")
    assert done.exit_code == ParityError.exit_code, done.output
    assert done.stderr.splitlines()[-1].startswith("error: no int8 file is left for tensorrt: int8_ptq-tensorrt: parity: ")
    assert "engine: skipped, no int8 file is left for TensorRT: int8_ptq-tensorrt: parity: " in done.stdout
    run = own_run.runs / "small"
    page = (run / "11-report" / "report.html").read_text()
    assert "int8_qat-tensorrt, which is left out" in page
    assert "TensorRT engines" in page
    assert set(json.loads((run / "summary.json").read_text())["left_out"]) == {"int8_ptq-tensorrt", "int8_qat-tensorrt"}
    assert (run / "12-bundle" / "bundle" / "run.py").is_file()
    again = end_of_run(own_run, "export.targets=[tensorrt]", first=None)
    assert (again.exit_code, "reused" in again.stdout, "made" in again.stdout) == (ParityError.exit_code, True, False)
