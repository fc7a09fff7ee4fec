"""Encoders of rows of numbers: float32 values (N, D) -> features (N, W) float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.io_spec import Port
from compress.ranks.dealing import count_all


class RunningScale(nn.Module):
    """(x - mean) / deviation, channel by channel: the batch's in training, what was seen on average otherwise.

    Batch normalisation written out for inference, because exporters keep it as one node that not every runtime takes for (N, D).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(size, affine=False, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.norm(x) if count_all(x) > 1 else self._scale(x)
        return self._scale(x)

    def _scale(self, x: Tensor) -> Tensor:
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        return (x - self.norm.running_mean) * torch.rsqrt(self.norm.running_var + self.norm.eps)


class Perceptron(nn.Module):
    """Scaled values through `depth` linear layers with ReLU."""

    def __init__(self, size: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.scale = RunningScale(size)
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [nn.Linear(size if index == 0 else width, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.width = width

    def forward(self, numbers: Tensor) -> Tensor:
        return self.body(self.scale(numbers))


class Raw(nn.Module):
    """The values as they are: what a fitted head standardises and reads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.width = size

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers

    def load_pretrained(self) -> None:
        """There is nothing to load."""


def mlp(port: Port, *, width: int = 64, depth: int = 2) -> nn.Module:
    """A multilayer perceptron: `depth` layers of `width` channels."""
    return Perceptron(port.shape[0], width=width, depth=depth)


def raw(port: Port) -> nn.Module:
    """The numbers themselves, for the fitted head of a teacher."""
    return Raw(port.shape[0])
