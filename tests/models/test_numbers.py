"""Encoders of rows of numbers: scaled by what training saw, and without an operator that runtimes lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import load
from torch import nn

from compress.device.sessions import open_session
from compress.io_spec import IOSpec, Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.numbers import RunningScale, mlp, raw
from compress.stages.export import export_module, save

PORT = Port("numbers", "float32", (3,))


def batch(rows: int = 64) -> torch.Tensor:
    """Three channels of mean 5, 0 and -100, and deviation 2, 1 and 30."""
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    return x * torch.tensor([2.0, 1.0, 30.0]) + torch.tensor([5.0, 0.0, -100.0])


def test_scale_in_training_is_that_of_the_batch() -> None:
    out = RunningScale(3).train()(batch())
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(3), atol=1e-4, rtol=0)


def test_scale_of_what_was_seen_is_that_of_batch_normalisation() -> None:
    scale, reference = RunningScale(3), nn.BatchNorm1d(3, affine=False, momentum=0.01)
    for _ in range(5):
        scale(batch()), reference(batch())
    torch.testing.assert_close(scale.eval()(batch(7)), reference.eval()(batch(7)))


def test_scale_of_a_batch_of_one_row_is_what_was_seen() -> None:
    scale = RunningScale(3).train()
    one = batch(1)
    torch.testing.assert_close(scale(one), one / (1 + scale.norm.eps) ** 0.5)  # mean 0 and variance 1: nothing was seen
    assert scale.norm.num_batches_tracked == 0


@pytest.mark.parametrize(("width", "depth"), [(8, 1), (16, 3)])
def test_perceptron_has_depth_layers_of_width_channels(width: int, depth: int) -> None:
    encoder = mlp(PORT, width=width, depth=depth)
    layers = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(3, width), *[(width, width)] * (depth - 1)]
    assert encoder.eval()(batch(5)).shape == (5, encoder.width) == (5, width)


def test_raw_numbers_stay_as_they_are() -> None:
    encoder = raw(PORT)
    assert encoder.width == 3
    assert torch.equal(encoder(batch()), batch())
    assert list(encoder.parameters()) == []


@torch.no_grad()
def test_exported_perceptron_has_no_batch_normalisation_and_gives_torchs_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = mlp(PORT, width=8)
    encoder(batch())
    model = Classifier({"numbers": encoder}, LinearHead("numbers", 8, 2)).eval()
    save(export_module(model, IOSpec((PORT,), (Port("logits", "float32", (2,)),)), 20), tmp_path / "m.onnx")
    assert "BatchNormalization" not in {node.op_type for node in load(tmp_path / "m.onnx").graph.node}
    got = open_session(tmp_path / "m.onnx").run({"numbers": batch(9).numpy()})["logits"]
    np.testing.assert_allclose(got, model({"numbers": batch(9)}).logits.numpy(), rtol=1e-4, atol=1e-5)
