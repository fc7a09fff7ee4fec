"""The student's image encoder: its size, its strides, and that it holds nothing but what int8 likes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.io_spec import Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.layers import ConvNorm, Pixels, Sum
from compress.models.saved import count_parameters
from compress.models.vision import MobileNetV4, UniversalBottleneck, mobilenet_v4, scale_channels

PORT = Port("image", "uint8", (64, 64, 3), 0, 255)
ALLOWED = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Identity, nn.Sequential, ConvNorm, Sum, Pixels, UniversalBottleneck, MobileNetV4}


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(48, 1.0, 48), (48, 0.5, 24), (24, 0.5, 16), (64, 0.7, 48), (16, 0.1, 8)],  # 12 -> 16, 44.8 -> 48, and never under 8
)
def test_scale_channels_gives_multiples_of_eight(channels: int, width: float, expected: int) -> None:
    assert scale_channels(channels, width) == expected


def test_mobilenet_v4_holds_relu_and_no_other_nonlinearity() -> None:
    assert {type(module) for module in mobilenet_v4(PORT, depth=2).modules()} <= ALLOWED


def test_mobilenet_v4_has_no_squeeze_excite() -> None:
    encoder, smallest = mobilenet_v4(PORT, stem_stride=1).eval(), []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given: smallest.append(min(given[0].shape[2:])))
    encoder(images(32))
    assert len(smallest) > 15 and min(smallest) == 4  # every convolution reads a map, none a pooled vector


def test_mobilenet_v4_of_the_cifar_benchmark_has_at_most_100_k_parameters() -> None:
    encoder = mobilenet_v4(PORT, width=1.0, out=96, stem_stride=1)
    assert 90_000 < count_parameters(Classifier({"image": encoder}, LinearHead("image", 96, 10))) <= 100_000


@pytest.mark.parametrize(("stem_stride", "size"), [(1, 32), (2, 64), (2, 96)])
def test_mobilenet_v4_divides_the_image_by_eight_times_the_stem_stride(stem_stride: int, size: int) -> None:
    encoder = mobilenet_v4(PORT, width=0.5, stem_stride=stem_stride, out=24).eval()
    side = size // (8 * stem_stride)
    assert encoder.body(encoder.pixels(images(size))).shape == (2, 24, side, side)


def test_mobilenet_v4_width_and_depth_change_the_number_of_parameters() -> None:
    plain = count_parameters(mobilenet_v4(PORT))
    assert (
        count_parameters(mobilenet_v4(PORT, width=0.5))
        < plain
        < count_parameters(mobilenet_v4(PORT, depth=2))
        < count_parameters(mobilenet_v4(PORT, depth=3))
    )


@pytest.mark.parametrize(("stride", "out", "added"), [(1, 8, True), (1, 16, False), (2, 8, False)])
def test_bottleneck_adds_its_input_where_shapes_agree(stride: int, out: int, added: bool) -> None:
    block = UniversalBottleneck(8, out, expansion=2, stride=stride, before=3, inside=0).eval()
    nn.init.zeros_(block.body[-1].norm.weight)  # so that the body gives zero
    x = torch.randn(1, 8, 8, 8)
    expected = x if added else torch.zeros(1, out, 8 // stride, 8 // stride)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("before", "inside"), [(5, 5), (3, 0), (0, 3)])
def test_bottleneck_strides_once(before: int, inside: int) -> None:
    block = UniversalBottleneck(8, 16, expansion=2, stride=2, before=before, inside=inside)
    assert block(torch.randn(2, 8, 8, 8)).shape == (2, 16, 4, 4)


def test_mobilenet_v4_sees_an_image_the_same_alone_and_in_a_batch() -> None:
    encoder, batch = mobilenet_v4(PORT, width=0.5, out=16).eval(), images(64, 5)
    torch.testing.assert_close(encoder(batch)[3:4], encoder(batch[3:4]), atol=1e-5, rtol=1e-4)
