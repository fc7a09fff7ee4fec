"""The layers that students are built from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.models.layers import ConvNorm, MaxPool, Pixels, Sum


@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 8), (3, 1, 8), (3, 2, 4), (5, 2, 4)])
def test_conv_norm_keeps_the_map_or_divides_it_by_its_stride(kernel: int, stride: int, size: int) -> None:
    layer = ConvNorm(4, 6, kernel=kernel, stride=stride)
    assert layer(torch.randn(2, 4, 8, 8)).shape == (2, 6, size, size)


def test_conv_norm_is_convolution_then_norm_then_relu() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(3, 5, kernel=3).eval()
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 6, 6)
    y = nn.functional.conv2d(x, layer.conv.weight, padding=1)
    mean, deviation = layer.norm.running_mean[:, None, None], (layer.norm.running_var[:, None, None] + layer.norm.eps).sqrt()
    torch.testing.assert_close(layer(x), ((y - mean) / deviation).clamp(min=0))


def test_conv_norm_without_relu_keeps_negative_values() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    assert ConvNorm(3, 5, relu=False)(x).min() < 0 <= ConvNorm(3, 5)(x).min()


def test_sum_adds() -> None:
    assert Sum()(torch.tensor([1.0, -2.0]), torch.tensor([10.0, -20.0])).tolist() == [11.0, -22.0]
    assert Sum(relu=True)(torch.tensor([1.0, -2.0]), torch.tensor([10.0, -20.0])).tolist() == [11.0, 0.0]


def test_max_pool_is_that_of_torch() -> None:
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(MaxPool(3, 2, 1)(x), nn.functional.max_pool2d(x, 3, 2, 1))


def test_conv_norm_with_six_ends_at_six() -> None:
    layer = ConvNorm(1, 1, six=True).eval()
    nn.init.ones_(layer.conv.weight)
    layer.norm.eps = 0.0
    assert layer(torch.tensor([-1.0, 3.0, 9.0]).view(1, 1, 1, 3)).flatten().tolist() == [0.0, 3.0, 6.0]


def test_pixels_are_channels_first_and_standardised_by_channel() -> None:
    pixels = Pixels((0.5, 0.0, 0.2), (0.5, 1.0, 0.1))
    image = torch.tensor([[[[0, 0, 51], [255, 255, 255]]]], dtype=torch.uint8)  # (1, 1, 2, 3)
    # red: (0 - 0.5) / 0.5 and (1 - 0.5) / 0.5; green: as it is; blue: (51/255 - 0.2) / 0.1 and (1 - 0.2) / 0.1
    expected = torch.tensor([[[[-1.0, 1.0]], [[0.0, 1.0]], [[0.0, 8.0]]]])  # (1, 3, 1, 2)
    torch.testing.assert_close(pixels(image), expected, atol=1e-6, rtol=0)


def test_pixels_have_nothing_to_save() -> None:
    assert Pixels((0.5,) * 3, (0.5,) * 3).state_dict() == {}
