"""The bag of words: what it hears of a text, and its way through export, int8 for each target and TensorRT's contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.graphs.contract import check_tensorrt
from compress.graphs.coverage import int8_coverage
from compress.graphs.diverge import compare_layers, reference_of
from compress.graphs.retarget import TARGETS, retarget
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.saved import count_parameters
from compress.models.text import Bag, bag
from compress.quantizers import calibrate, freeze, prepare, qdq_opset
from compress.recipe.sections import Parity, Quantize
from compress.stages.export import export_module, save
from compress.stages.export.from_torch import clean, compare_quantizers, run_torch
from compress.stages.export.gate import Gate
from compress.tasks.task import task

PORT = Port("text", "int64", (6,), 0, 29)
IO = IOSpec((PORT,), (Port("logits", "float32", (3,)),))


def texts(count: int, *, seed: int = 0) -> np.ndarray:
    """(N, 6) int64 ids of 1 to 6 tokens, 0 behind them."""
    random = np.random.default_rng(seed)
    ids = random.integers(1, 30, (count, 6))
    return np.where(np.arange(6) < random.integers(1, 7, (count, 1)), ids, 0)


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Classifier({"text": bag(PORT, width=8)}, LinearHead("text", 8, 3)).eval()


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate(Parity(), {"text": texts(64, seed=9)}, decisions=task("single_label").decisions)


@pytest.fixture(scope="module")
def quantized(model: Classifier) -> tuple[nn.Module, onnx.ModelProto]:
    """The bag in fake int8, calibrated, and its graph."""
    batches: Any = [({"text": torch.from_numpy(texts(32, seed=seed))}, None) for seed in range(2)]
    prepared = prepare(model, Quantize())
    calibrate(prepared, batches)
    frozen = freeze(prepared)
    with qdq_opset(20):
        return frozen, clean(export_module(frozen, IO, 20))


def test_features_are_the_mean_of_the_tokens_in_any_order() -> None:
    encoder = Bag(vocabulary=5, width=2)
    with torch.no_grad():
        encoder.words.weight[1:] = torch.tensor([[1.0, 0], [0, 1], [3, 3], [5, 7]])
    found = encoder(torch.tensor([[1, 2, 3, 0], [3, 1, 2, 0], [4, 0, 0, 0], [0, 0, 0, 0]]))
    # (1 + 0 + 3) / 3, (0 + 1 + 3) / 3; one token as it is; nothing at all
    assert found.tolist() == [[pytest.approx(4 / 3)] * 2, [pytest.approx(4 / 3)] * 2, [5, 7], [0, 0]]


def test_only_the_vocabulary_has_weights() -> None:
    assert count_parameters(bag(PORT, width=8)) == 30 * 8


def test_padding_is_no_word_however_long_it_is_trained() -> None:
    encoder = bag(PORT, width=8)
    step = torch.optim.AdamW(encoder.parameters(), lr=0.1)
    encoder(torch.from_numpy(texts(32))).sum().backward()
    step.step()
    assert not encoder.words.weight[0].any() and encoder.words.weight[1:].all()


def test_float_graph_gives_torchs_logits_and_fits_tensorrt(model: Classifier, gate: Gate) -> None:
    graph = clean(export_module(model, IO, 20))
    gate.compare("torch", "ONNX", run_torch(model, gate.feeds), run_model(graph, gate.feeds)["logits"], kind="fp32")
    assert check_tensorrt(graph) == []


@pytest.mark.parametrize("target", TARGETS)
def test_int8_files_pass_the_gate(quantized: tuple[nn.Module, onnx.ModelProto], gate: Gate, target: str) -> None:
    (frozen, symmetric), feeds = quantized, gate.feeds
    plain = run_model(symmetric, feeds, optimise=False)["logits"]
    layers = compare_quantizers(frozen, symmetric, gate.few)
    gate.compare("fake-quantized", "as written", run_torch(frozen, feeds), plain, kind="int8", layers=lambda: layers)
    written = retarget(symmetric, target)
    got = run_model(written, feeds, optimise=target != "tensorrt")["logits"]
    reference = reference_of(symmetric, gate.few)
    gate.compare("as written", target, plain, got, kind="int8", layers=lambda: compare_layers(reference, written, gate.few))


def test_all_products_run_in_int8(quantized: tuple[nn.Module, onnx.ModelProto], tmp_path: Path) -> None:
    save(retarget(quantized[1], "onnxruntime_x86"), tmp_path / "x86.onnx")
    assert [node.int8 for node in int8_coverage(tmp_path / "x86.onnx").nodes] == [True]  # the head; a mean is no product
    table = next(tensor for tensor in quantized[1].graph.initializer if list(tensor.dims) == [30, 8])
    assert table.data_type == onnx.TensorProto.INT8
