"""The few layers that students are built from, each a place where a quantizer can put its step.

A quantizer sees `ConvNorm` (fold the norm, quantize weight and output), `Sum` and `FrontEnd` (quantize the output) and
`nn.Linear` (quantize input and weight); everything else stays in float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and ReLU (or nothing): (B, C, H, W) -> (B, C', H/s, W/s). `six`: ReLU6, min(max(x, 0), 6)."""

    def __init__(
        self, channels: int, out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True, six: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out)  # nn.Identity once folded; then conv has a bias
        self.act: nn.Module = (nn.ReLU6() if six else nn.ReLU()) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


def from_maker(x: Tensor, y: Tensor) -> Tensor:
    """y, whose values are some of x's: the quantized layer that made these (see OutputLayer in compress/quantizers) is told of it as well."""
    if (maker := getattr(x, "made_by", None)) is not None:
        y.made_by = maker  # type: ignore[attr-defined]
    return y


class Sum(nn.Module):
    """a + b, and ReLU where there is one behind the sum, as a module, so that a residual sum can be quantized."""

    def __init__(self, *, relu: bool = False) -> None:
        super().__init__()
        self.act: nn.Module = nn.ReLU() if relu else nn.Identity()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.act(a + b)


class MaxPool(nn.MaxPool2d):
    """Max pooling whose output the layers behind may read: values on an int8 grid stay on it, so their maker quantizes them once more."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        maker = getattr(x, "made_by", None)  # the quantized layer that x comes from
        return y if maker is None else maker.emit(y)  # changes nothing; an int8 kernel wants the pair of nodes at its own input


class Enlarge(nn.Module):
    """Each pixel twice across and down, (B, C, H, W) -> (B, C, 2 H, 2 W); what is on an int8 grid stays on it, as behind `MaxPool`."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        maker = getattr(x, "made_by", None)
        return y if maker is None else maker.emit(y)


class FrontEnd(nn.Module):
    """The float arithmetic between raw values and the first convolution; int8 graphs leave it in float and quantize what it gives.

    `step` is set where what it gives is an int8 grid as it is.
    """

    kind = ""
    step: float | None = None


class Pixels(FrontEnd):
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, minus the mean, over the deviation: pixel arithmetic stays in the graph.

    `step` is set where pixels are an int8 grid as they are: value = (pixel - 128) * step. Then a quantizer has nothing to find
    or to lose, and an int8 graph reads the bytes of the image without any arithmetic.
    """

    kind = "pixels"
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, float, float], deviation: tuple[float, float, float]) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation
        centre, spread = (torch.tensor(values, device="cpu") for values in (mean, deviation))  # numbers, also where weights are none (meta)
        scale, shift = 1 / (255 * spread), -(centre / spread)
        one = len({*mean}) == len({*deviation}) == 1  # for all channels: a scalar is cheaper than a broadcast
        self.register_buffer("scale", scale[0] if one else scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift[0] if one else shift.view(1, 3, 1, 1), persistent=False)
        self.step = float(scale[0]) if one and float(shift[0]) == -128 * float(scale[0]) else None

    def forward(self, image: Tensor) -> Tensor:
        return image.float().permute(0, 3, 1, 2) * self.scale + self.shift  # TensorRT-RTX refuses to permute uint8
