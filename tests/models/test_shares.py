"""Shares of every fusion that has some: what they are, and that float and int8 files tell them as a second output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fusions import as_feeds, build, draw, ports

from compress.graphs.contract import check_tensorrt
from compress.graphs.half import to_float16
from compress.graphs.retarget import retarget
from compress.graphs.split import split_by_input
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec
from compress.models.classifier import Classifier
from compress.models.fusion import bottleneck
from compress.models.shares import contributions, tell_shares, with_shares
from compress.models.tokens import Tokens
from compress.quantizers import calibrate, freeze, prepare
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import ask_torch, clean, compare_quantizers, export_module, run_torch
from compress.tables import FUSIONS, resolve

a, b = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]])  # (1, 2) each
WEIGHING = {"weighted": "weights", "gated": "gates", "attention": "attention", "cross_attention": "attention", "bottleneck": "attention"}


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_with_weights_tells_what_each_modality_contributed(name: str) -> None:
    io = ports(3)
    model, given = build(name, io), draw(io, 6)
    shares = contributions(model, given)
    assert (shares is not None) == (name in WEIGHING)
    if shares is not None:
        assert model.head.fuse.weighs == WEIGHING[name]
        assert shares.shape == (6, 3) and (shares > 0).all()
        torch.testing.assert_close(shares.sum(1), torch.ones(6))
        assert model(given).shares is None  # it was asked once


@pytest.mark.parametrize("name", WEIGHING)
@torch.no_grad()
def test_what_a_fusion_gives_is_the_same_with_its_shares(name: str) -> None:
    io = ports(3)
    model, given = build(name, io), draw(io, 6)
    alone = model(given)
    together = tell_shares(model)(given)
    assert torch.equal(alone.logits, together.logits) and together.shares.shape == (6, 3)
    assert all(part.seen is None for part in model.modules() if hasattr(part, "seen"))


def told(name: str) -> tuple[Classifier, IOSpec]:
    io = ports(3)
    return tell_shares(build(name, io)), with_shares(io)


@pytest.mark.parametrize("name", WEIGHING)
def test_shares_are_a_second_output_of_the_float_files(name: str) -> None:
    model, io = told(name)
    feeds = as_feeds(draw(io, 8))
    graph = clean(export_module(model, io, 20))
    assert [port.name for port in graph.graph.output] == ["logits", "shares"]
    shares = contributions(model, draw(io, 8)).numpy()
    found = run_model(graph, feeds)
    np.testing.assert_allclose(found["shares"], shares, atol=1e-5)
    np.testing.assert_allclose(found["logits"], run_torch(build(name, io), feeds), atol=1e-5)
    half = run_model(to_float16(graph, feeds=feeds), feeds)["shares"]
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, shares, atol=5e-3)
    parts = split_by_input(graph)
    assert parts
    between = {key: value for m, part in parts.alone.items() for key, value in run_model(part, {m: feeds[m]}).items()}
    left = {port.name: feeds[port.name] for port in parts.joint.graph.input if port.name in feeds}
    np.testing.assert_allclose(run_model(parts.joint, {**between, **left})["shares"], shares, atol=1e-5)


@pytest.mark.parametrize("name", WEIGHING)
def test_shares_are_a_second_output_of_the_int8_files(name: str) -> None:
    model, io = told(name)
    model = prepare(model, Quantize())
    calibrate(model, [(draw(io, 16, seed=seed), None) for seed in range(3)])
    model = freeze(model)
    graph, feeds = clean(export_module(model, io, 20)), as_feeds(draw(io, 32, seed=9))
    gaps = compare_quantizers(model, graph, feeds)
    assert len(gaps) > 2 and "shares" in [gap.tensor for gap in gaps]
    assert [fault for gap in gaps if (fault := gap.fault(layer=5e-3, steps=1.05))] == []
    expected = ask_torch(model, feeds)["shares"]
    for target in ("onnxruntime_x86", "onnxruntime_arm", "tensorrt"):
        file = retarget(graph, target)
        assert target != "tensorrt" or check_tensorrt(file) == []
        got = run_model(file, feeds, optimise=target != "tensorrt")["shares"]
        assert np.abs(got - expected).max() < 0.02, target
        np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)


@torch.no_grad()
def test_shares_of_gates_and_of_weights_by_hand() -> None:
    gates, weights = resolve(FUSIONS["gated"])(2, 2), resolve(FUSIONS["weighted"])(2, 2)
    gates.gates.weight.zero_()
    gates.gates.bias.copy_(torch.tensor([np.log(3), np.log(3), 0.0, 0.0]))  # gates of 3/4 and 1/2
    torch.testing.assert_close(gates.weighed([a, b])[1], torch.tensor([[0.6, 0.4]]))
    weights.weights.copy_(torch.tensor([0.0, np.log(3)]))
    torch.testing.assert_close(weights.weighed([a, b])[1], torch.tensor([[0.25, 0.75]]))


@torch.no_grad()
def test_bottlenecks_tell_whom_they_read_and_two_that_read_each_other_do_not() -> None:
    torch.manual_seed(0)
    fuse: Any = bottleneck(2, 4, lengths=(2, 3))
    for layer in fuse.layers:  # all that is seen is read alike
        layer.attention.inputs.weight.zero_()
        layer.attention.inputs.bias.zero_()
    parts = [Tokens(torch.randn(1, 2, 4)), Tokens(torch.randn(1, 3, 4), torch.tensor([[1.0, 1.0, 0.0]]))]
    torch.testing.assert_close(fuse.weighed(parts)[1], torch.tensor([[0.5, 0.5]]))  # two tokens each
    io = ports(2)
    assert contributions(build("cross_attention", io), draw(io, 3)) is None
