"""The export stages on a trained student: the files agree with torch, and a fault planted in any hop is found and named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from compress.context import Context
from compress.data.prepared import open_data
from compress.dependencies import only
from compress.errors import CompressError, ParityError
from compress.grammar import load_recipe
from compress.graphs.trace import run_model
from compress.models.saved import load_model, tokenizer_of
from compress.pipeline import STAGES
from compress.quantizers.saved import open_quantized
from compress.stages import export as stage
from compress.training.rows import sample_feeds

Fault = Callable[[onnx.ModelProto], None]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def exported() -> dict[bytes, onnx.ModelProto]:
    """Graphs by the weights that they were exported from: the exporter takes seconds, and these tests are about what follows it."""
    return {}


@pytest.fixture
def call(whole_run, exported: dict[bytes, onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the stage `export` of the finished run once more, with overrides of its recipe, and into a folder of its own."""
    made, real = whole_run.result.artifacts, stage.export_module

    def export_once(model: torch.nn.Module, *arguments):
        key = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
        if key not in exported:
            exported[key] = real(model, *arguments)
        return copy.deepcopy(exported[key])

    monkeypatch.setattr(stage, "export_module", export_once)

    def run(*overrides: str, quantized: bool = True):
        recipe = only(load_recipe(whole_run.recipe, list(overrides)).recipe, STAGES["export"].reads)
        ctx = Context(tmp_path, say=lambda line: None)
        return stage.export(recipe, made["distill"], made["quantize"] if quantized else None, open_data(made["data"].path), ctx=ctx)

    return run


@pytest.fixture(scope="module")
def forms(whole_run) -> SimpleNamespace:
    """What the finished run holds: torch models, the graphs of the export, real inputs."""
    made = whole_run.result.artifacts
    student, quantize = made["distill"], load_recipe(whole_run.recipe, []).recipe.quantize
    assert quantize
    feeds, _ = sample_feeds(open_data(made["data"].path).split("test"), student.io_spec, tokenizer_of(student.path), 24)
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
    np.testing.assert_allclose(got, stage.run_torch(forms.model, forms.feeds), rtol=1e-3, atol=1e-4)


def test_int8_file_as_written_gives_the_fake_quantized_logits(forms: SimpleNamespace) -> None:
    got = run_model(forms.graph["int8_qat-tensorrt"], forms.feeds, optimise=False)["logits"]
    np.testing.assert_allclose(got, stage.run_torch(forms.fake, forms.feeds), rtol=1e-3, atol=1e-4)


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
        assert b".py" not in content


def test_int8_files_are_a_fraction_of_the_float_one(whole_run) -> None:
    artifact = whole_run.result.artifacts["export"]
    files = {name: artifact.file(entry["file"]).stat().st_size for name, entry in artifact.details["files"].items()}
    assert set(artifact.details["sizes"]) == set(files)
    assert files["fp16"] < 0.7 * files["fp32"]
    assert files["int8_qat"] < 0.6 * files["fp32"]


@pytest.mark.parametrize("form", ["model", "fake"])
def test_no_layer_of_a_sound_export_is_lost(forms: SimpleNamespace, form: str) -> None:
    graph = forms.graph["fp32" if form == "model" else "int8_qat-tensorrt"]
    assert stage.first_lost_layer(getattr(forms, form), graph, forms.feeds) is None


@pytest.mark.parametrize(
    ("fault", "layer"), [(transpose_weight, r"encoders\.text\.layers\.0\.attention\.\w+"), (flip_kernel, r"encoders\.image\.body\.0\.conv")]
)
def test_fault_in_the_float_graph_ends_the_run_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch, fault: Fault, layer: str) -> None:
    plant(monkeypatch, "export_module", fault, only_quantized=False)
    with pytest.raises(ParityError, match=rf"^parity: torch fp32 -> ONNX Runtime fp32: .*first layer that diverges: {layer}$"):
        call(quantized=False)


def test_wrong_scale_in_the_quantized_graph_ends_the_run_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "export_module", shrink_scale, only_quantized=True)
    expected = r"^parity: fake-quantized torch \(ptq\) -> ONNX as written \(ptq\): .*first layer that diverges: head\.\S+$"
    with pytest.raises(ParityError, match=expected):
        call()


def test_wrong_scale_in_a_targets_file_ends_the_run_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "retarget", shrink_scale, only_quantized=True)
    expected = (
        r"ONNX as written \(ptq\) -> onnxruntime_x86 file \(ptq\): .*first layer that diverges: \S+ \(\w+, layer \S+\): relative difference"
    )
    with pytest.raises(ParityError, match=expected):
        call()


def test_wrong_weight_in_float16_ends_the_run_and_names_the_layer(call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage.to_float16

    def faulty(model, *, feeds):
        half = real(model, feeds=feeds)
        _, tensor = (weights(half, "Gemm") or weights(half, "MatMul"))[-1]
        replace(tensor, -numpy_helper.to_array(tensor))
        return half

    monkeypatch.setattr(stage, "to_float16", faulty)
    with pytest.raises(ParityError, match=r"ONNX Runtime fp32 -> ONNX Runtime fp16: .*first layer that diverges: \S+ \((Gemm|MatMul)"):
        call(quantized=False)


def test_gate_looks_at_the_distance_where_the_answers_still_agree() -> None:
    limits = SimpleNamespace(min_agreement=0.9, max_difference=2e-3, max_relative=0.1)
    hops = stage.Hops(limits, {"text": np.zeros((2, 3))}, Context(Path()))  # type: ignore[arg-type]
    expected = np.array([[1.0, 0.0], [0.0, 2.0]])
    hops.compare("a", "b", expected, expected * 1.05, loose=True, blame=lambda: "none")
    with pytest.raises(ParityError, match=r"a -> b: the arg-max agrees on 100\.00 % of 2 samples .* 2\.00e-01 \(at most 0\.1\)"):
        hops.compare("a", "b", expected, expected * 1.2, loose=True, blame=lambda: "none")
    with pytest.raises(ParityError, match=r"5\.00e-02 of the largest logit \(at most 0\.002\)"):
        hops.compare("a", "b", expected, expected * 1.05, blame=lambda: "none")
    assert [record["passed"] for record in hops.records] == [True, False, False]


def test_student_that_was_not_quantized_has_float_files_alone(call) -> None:
    assert set(call("quantize=null", quantized=False).details["files"]) == {"fp32", "fp16"}


def test_too_little_int8_ends_the_run(whole_run) -> None:
    measured = whole_run.result.artifacts["export"].details["coverage"]
    assert set(measured) == {"int8_ptq", "int8_qat"}
    assert 0.5 < measured["int8_qat"]["share"] <= 1
    quantize = load_recipe(whole_run.recipe, ["quantize.min_int8_coverage=1"]).recipe.quantize
    assert quantize
    stage.require_coverage(quantize.model_copy(update={"min_int8_coverage": 0.3}), measured)
    with pytest.raises(
        CompressError, match=r"int8_ptq: 40\.0 % of the multiply-adds run in int8, quantize\.min_int8_coverage asks for 100 %"
    ):
        stage.require_coverage(quantize, {"int8_ptq": {"share": 0.4}})
    with pytest.raises(CompressError, match="no int8 file for onnxruntime_x86"):
        stage.require_coverage(quantize, {})
