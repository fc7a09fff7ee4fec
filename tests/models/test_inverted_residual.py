"""Inverted residual encoders: strides left out from the front, pixels folded into the stem, and int8 for all of it."""

from __future__ import annotations

import onnx
import pytest
import torch
from ports import io_spec
from torch import nn

from compress.graphs.contract import check_tensorrt
from compress.graphs.coverage import int8_coverage
from compress.graphs.graph import Graph
from compress.graphs.retarget import retarget
from compress.models.classifier import Classifier, LinearHead
from compress.models.inverted_residual import Group, InvertedResidual, InvertedResidualNet, early_strides, fold_pixels
from compress.models.layers import ConvNorm, Pixels
from compress.models.vision import CENTRE, SPREAD
from compress.quantizers import calibrate, freeze, prepare, qdq_opset
from compress.recipe.sections import Quantize
from compress.stages.export import clean, export_module

GROUPS = (Group(8, 1, 1, 1), Group(16, 4, 2, 2), Group(24, 4, 2, 2))


def net(**changes: float) -> InvertedResidualNet:
    torch.manual_seed(0)
    sizes = {"stem": 16, "width": 1.0, "expand": 1.0, "depth": 1.0, "stride": 8, "out": 32}
    return InvertedResidualNet(GROUPS, **{**sizes, **changes})


def images(count: int, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("total", "expected"),
    [(32, [2, 1, 2, 2, 2, 1, 2]), (16, [1, 1, 2, 2, 2, 1, 2]), (8, [1, 1, 1, 2, 2, 1, 2])],
)
def test_first_strides_are_left_out(total: int, expected: list[int]) -> None:
    assert early_strides([2, 1, 2, 2, 2, 1, 2], total) == expected


@torch.no_grad()
def test_folded_pixels_give_the_same_stem_inside_the_border() -> None:
    torch.manual_seed(0)
    mean, deviation = (0.3, 0.5, 0.6), (0.2, 0.3, 0.25)
    stem = ConvNorm(3, 8, kernel=3, stride=2, six=True).eval()
    stem.norm.running_mean.normal_()
    stem.norm.running_var.uniform_(0.5, 2)
    before = stem(Pixels(mean, deviation)(images(2)))
    fold_pixels(stem, mean, deviation)
    after = stem(Pixels(CENTRE, SPREAD)(images(2)))
    torch.testing.assert_close(after[:, :, 1:, 1:], before[:, :, 1:, 1:], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after[:, :, 0], before[:, :, 0], atol=1e-2)  # the border is another grey


@pytest.mark.parametrize(("stride", "out", "added"), [(1, 8, True), (1, 16, False), (2, 8, False)])
def test_block_adds_its_input_where_shapes_agree(stride: int, out: int, added: bool) -> None:
    block = InvertedResidual(8, 32, out, stride=stride, kernel=3).eval()
    nn.init.zeros_(block.project.norm.weight)  # so that the body gives zero
    x = torch.randn(1, 8, 8, 8)
    torch.testing.assert_close(block(x), x if added else torch.zeros(1, out, 8 // stride, 8 // stride))


@pytest.fixture(scope="module")
def symmetric() -> onnx.ModelProto:
    """The symmetric int8 graph of a small encoder with a linear head, calibrated on noise."""
    model = Classifier({"image": net()}, LinearHead("image", 32, 5))
    for _ in range(3):
        model({"image": images(16)})  # so that the norms have statistics
    prepared = prepare(model.eval(), Quantize())
    calibrate(prepared, [({"image": images(16)}, None)])
    with qdq_opset(20):
        return clean(export_module(freeze(prepared), io_spec(image_size=32, classes=5), 20))


def test_all_of_it_runs_in_int8_on_x86_and_no_clip_is_left(symmetric: onnx.ModelProto) -> None:
    coverage = int8_coverage(retarget(symmetric, "onnxruntime_x86"))
    assert coverage.share == 1.0, [node for node in coverage.nodes if not node.int8]
    assert "Clip" not in coverage.operators and coverage.operators["QLinearConv"] == 16  # stem, 2 + 6 + 6 in the blocks, last


def test_every_convolution_stands_between_quantized_tensors_for_arm(symmetric: onnx.ModelProto) -> None:
    graph = Graph(retarget(symmetric, "onnxruntime_arm"))
    convolutions = [node for node in graph.proto.node if node.op_type == "Conv"]
    assert len(convolutions) == 16
    assert all(graph.producer(name, op_type="DequantizeLinear") is not None for node in convolutions for name in node.input[:2])


def test_it_keeps_to_the_contract_of_tensorrt(symmetric: onnx.ModelProto) -> None:
    assert check_tensorrt(retarget(symmetric, "tensorrt")) == []
