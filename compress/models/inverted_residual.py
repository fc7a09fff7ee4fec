"""Inverted residual image encoders (MobileNetV2, arXiv 1801.04381; EfficientNet-Lite): raw pixels (N, H, W, 3) uint8 -> features (N, D).

ReLU6 and no squeeze-excite, from layers that the quantizer folds and quantizes, so that published weights fit and int8 covers all of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compress.models.layers import ConvNorm, Pixels, Sum
from compress.models.maps import Maps, map_by_map
from compress.models.tokens import Tokens, map_tokens
from compress.models.vision import CENTRE, SPREAD, scale_channels


class Group(NamedTuple):
    """Blocks of one resolution and one width, which share a residual stream."""

    channels: int
    expansion: int  # channels inside a block over those that it reads
    blocks: int
    stride: int  # of the first block
    kernel: int = 3


class InvertedResidual(nn.Module):
    """1x1 expansion (none where nothing is expanded), depthwise, linear 1x1 projection; the input is added where shapes agree."""

    def __init__(self, channels: int, hidden: int, out: int, *, stride: int, kernel: int) -> None:
        super().__init__()
        self.expand = ConvNorm(channels, hidden, six=True) if hidden != channels else None
        self.depthwise = ConvNorm(hidden, hidden, kernel=kernel, stride=stride, groups=hidden, six=True)
        self.project = ConvNorm(hidden, out, relu=False)
        self.sum = Sum() if stride == 1 and channels == out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return y if self.sum is None else self.sum(x, y)


class InvertedResidualNet(nn.Module):
    """Stem, groups of inverted residuals, 1x1 convolution to `out` features, mean over the pixels."""

    def __init__(self, groups: tuple[Group, ...], *, stem: int, width: float, expand: float, depth: float, stride: int, out: int) -> None:
        super().__init__()
        strides = early_strides([2, *(group.stride for group in groups)], stride)
        channels = scale_channels(stem, width)
        self.kernels = tuple(group.kernel for group in groups)
        self.pixels = Pixels(CENTRE, SPREAD)
        self.stem = ConvNorm(3, channels, kernel=3, stride=strides[0], six=True)
        self.groups = nn.ModuleList()
        for group, first in zip(groups, strides[1:], strict=True):
            wide, blocks = scale_channels(group.channels, width), []
            for index in range(max(1, round(group.blocks * depth))):
                hidden = channels if group.expansion == 1 else scale_channels(channels * group.expansion, expand)
                blocks.append(InvertedResidual(channels, hidden, wide, stride=1 if index else first, kernel=group.kernel))
                channels = wide
            self.groups.append(nn.Sequential(*blocks))
        self.last = ConvNorm(channels, out, six=True)
        self.width = out

    def blocks(self) -> list[list[Any]]:
        """The blocks of each group."""
        groups: Any = self.groups
        return [list(group) for group in groups]

    def tunable(self) -> list[nn.Module]:
        """The blocks from input to output, the last one with the convolution behind it."""
        *blocks, last = (block for group in self.blocks() for block in group)
        return [*blocks, nn.ModuleList([last, self.last])]

    def forward(self, image: Tensor, *, tokens: bool = False, maps: bool = False) -> Tensor | Tokens | Maps:
        x = self.stem(self.pixels(image))  # (N, C, H/2, W/2)
        if maps:
            return map_by_map(x, [*(block for group in self.blocks() for block in group), self.last])
        for group in self.groups:
            x = group(x)
        x = self.last(x)
        return map_tokens(x) if tokens else x.mean((2, 3))


def early_strides(strides: list[int], total: int) -> list[int]:
    """The strides with the first ones set to 1 until their product is `total`: early maps stay as fine as a small image needs.

    The weights behind see the image as if it had been enlarged, which is what they were trained with.
    """
    left = list(strides)
    for index, stride in enumerate(strides):
        if math.prod(left) > total:
            left[index] = 1 if stride == 2 else stride
    return left


@torch.no_grad()
def fold_pixels(stem: Any, mean: tuple[float, float, float], deviation: tuple[float, float, float]) -> None:
    """Rewrites a stem trained on (p - mean) / deviation for pixels as `Pixels(CENTRE, SPREAD)` gives them, p in 0 to 1.

    Formula: (p - mean) / deviation = gain * x + shift with gain = spread / deviation, shift = (centre - mean) / deviation, so w' = w * gain,
    and the norm's running mean drops by the sum of w * shift. Exact but where the window reaches over the border: zeros there mean grey, not `mean`.
    """
    given = [torch.tensor(x, dtype=torch.float64, device=stem.conv.weight.device) for x in (CENTRE, SPREAD, mean, deviation)]
    centre, spread, old_mean, old_deviation = given
    weight = stem.conv.weight.double()  # (C, 3, k, k)
    shift = (weight.sum((2, 3)) * ((centre - old_mean) / old_deviation)).sum(1)  # (C,)
    stem.norm.running_mean.sub_(shift)
    stem.conv.weight.mul_((spread / old_deviation).view(1, 3, 1, 1))
