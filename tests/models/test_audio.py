"""The student's audio encoder: its layers and size, and its way through export, float16, int8 for each target and TensorRT's contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.errors import RecipeError
from compress.graphs.contract import check_tensorrt
from compress.graphs.coverage import NOT_QUANTIZED, int8_coverage
from compress.graphs.diverge import compare_layers, reference_of
from compress.graphs.half import to_float16
from compress.graphs.retarget import TARGETS, retarget
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Port
from compress.models.audio import ds_cnn
from compress.models.classifier import Classifier, LinearHead
from compress.models.saved import count_parameters
from compress.quantizers import calibrate, freeze, prepare, qdq_opset, quantized_modules
from compress.recipe.sections import Parity, Quantize
from compress.stages.export import export_module, save
from compress.stages.export.from_torch import clean, compare_quantizers, run_torch
from compress.stages.export.gate import Gate
from compress.tasks.task import task

PORT = Port("audio", "int32", (2400,), -32768, 32767, reading={"rate": 8000})
IO = IOSpec((PORT,), (Port("logits", "float32", (3,)),))


def tones(count: int, *, seed: int = 0) -> np.ndarray:
    """(N, T) int32: a tone and noise in each."""
    random, time = np.random.default_rng(seed), np.arange(2400) / 8000
    pitch, loud = random.uniform(100, 3500, (count, 1)), 10 ** random.uniform(-3, -0.3, (count, 1))
    return np.rint(32767 * loud * np.sin(2 * np.pi * pitch * time) + random.normal(size=(count, 2400)) * 20).astype(np.int32)


@dataclass
class Forms:
    """One student in its forms."""

    folder: Path
    gate: Gate
    model: nn.Module
    float_graph: onnx.ModelProto
    quantized: nn.Module
    symmetric: onnx.ModelProto


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Classifier({"audio": ds_cnn(PORT, width=8, blocks=2, out=16, mels=20)}, LinearHead("audio", 16, 3))
    for seed in range(8):
        model({"audio": torch.from_numpy(tones(32, seed=seed))})  # so that norms have statistics
    model.eval()
    batches: Any = [({"audio": torch.from_numpy(tones(32, seed=seed))}, None) for seed in range(2)]
    prepared = prepare(model, Quantize())
    calibrate(prepared, batches)
    frozen, folder = freeze(prepared), tmp_path_factory.mktemp("audio")
    with qdq_opset(20):
        symmetric = clean(export_module(frozen, IO, 20))
    yield Forms(
        folder,
        Gate(Parity(), {"audio": tones(64, seed=9)}, decisions=task("single_label").decisions),
        model,
        save(export_module(model, IO, 20), folder / "fp32.onnx"),
        frozen,
        symmetric,
    )


def test_default_has_the_size_that_its_docstring_says() -> None:
    assert round(count_parameters(ds_cnn(PORT)) / 1000) == 27


@pytest.mark.parametrize(("blocks", "convolutions"), [(0, 2), (1, 4), (4, 10)])
def test_blocks_are_a_depthwise_and_a_pointwise_convolution(blocks: int, convolutions: int) -> None:
    encoder = ds_cnn(PORT, width=8, blocks=blocks, out=24)
    assert len([m for m in encoder.modules() if isinstance(m, nn.Conv2d)]) == convolutions
    assert encoder.eval()(torch.from_numpy(tones(2))).shape == (2, 24)


def test_sound_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(RecipeError, match="a frame of two hops of 200 ms does not fit into 300 ms"):
        ds_cnn(PORT, hop_ms=200)


def test_float_graph_gives_torchs_logits(forms: Forms) -> None:
    feeds = forms.gate.feeds
    forms.gate.compare("torch", "ONNX", run_torch(forms.model, feeds), run_model(forms.float_graph, feeds)["logits"], kind="fp32")
    assert forms.float_graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT32
    assert check_tensorrt(forms.float_graph) == []


def test_float16_keeps_the_spectrogram_in_float32(forms: Forms) -> None:
    half, gate = to_float16(forms.float_graph, feeds=forms.gate.few), forms.gate
    expected, got = (run_model(graph, gate.feeds)["logits"] for graph in (forms.float_graph, half))
    gate.compare(
        "fp32", "fp16", expected, got, kind="fp16", layers=lambda: compare_layers(reference_of(forms.float_graph, gate.few), half, gate.few)
    )
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer if len(tensor.dims) > 1}
    assert {kind for name, kind in kinds.items() if ".front." in name} == {onnx.TensorProto.FLOAT}
    assert {kind for name, kind in kinds.items() if ".front." not in name} == {onnx.TensorProto.FLOAT16}


def test_spectrogram_is_float_under_quantization_and_named_so(forms: Forms) -> None:
    layers = quantized_modules(forms.quantized)
    assert layers["encoders.audio.front"].kind == "log_mel"
    save(retarget(forms.symmetric, "onnxruntime_x86"), forms.folder / "x86.onnx")
    nodes = int8_coverage(forms.folder / "x86.onnx").nodes
    assert [node.reason for node in nodes if not node.int8] == [NOT_QUANTIZED] * 5  # four waves, and the bands
    assert len([node for node in nodes if node.int8]) == 6 + 1  # every convolution behind it, and the head


@pytest.mark.parametrize("target", TARGETS)
def test_int8_files_pass_the_gate(forms: Forms, target: str) -> None:
    gate, feeds = forms.gate, forms.gate.feeds
    plain = run_model(forms.symmetric, feeds, optimise=False)["logits"]
    layers = compare_quantizers(forms.quantized, forms.symmetric, gate.few)
    gate.compare("fake-quantized", "as written", run_torch(forms.quantized, feeds), plain, kind="int8", layers=lambda: layers)
    written = retarget(forms.symmetric, target)  # to TensorRT: checked against its contract
    got = run_model(written, feeds, optimise=target != "tensorrt")["logits"]
    reference = reference_of(forms.symmetric, gate.few)
    gate.compare("as written", target, plain, got, kind="int8", layers=lambda: compare_layers(reference, written, gate.few))
