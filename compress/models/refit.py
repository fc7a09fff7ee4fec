"""Closes the gap that left-out channels and blocks leave: 1x1 weights by least squares on some images, layer after layer, without training.

In: a student whose layers were copied from a source's, and what stands for what. Out: the same student, whose every 1x1 layer gives what the
source's gives there as nearly as its inputs allow. Source of the idea: channel pruning by reconstruction, arXiv 1707.06168.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PRIOR = 0.1  # pull towards the copied weights, in units of the inputs' mean variance: late layers see few pixels for their many weights
CHUNK = 32  # images at a time

Chunks = list[tuple[Tensor, Tensor]]  # what reaches a place in the student and in the source


@dataclass
class Part:
    """A layer of the student, the source's that it stands for, and which of its channels."""

    own: Any  # ConvNorm, both
    theirs: Any
    rows: Tensor  # (C',) output channels
    columns: Tensor | None = None  # input channels; None in the stem and in depthwise layers


@dataclass
class Stretch:
    """A stem, a block or a last layer: the modules of student and source, the layers in them, and the source's blocks left out before."""

    own: nn.Module
    theirs: nn.Module
    parts: list[Part]
    skipped: list[Any]


@torch.no_grad()
def refit(student: Any, source: Any, stretches: list[Stretch], images: Tensor) -> None:
    """Fits the student's 1x1 layers and sets the statistics of all its norms as the images have them; images: (N, H, W, 3) uint8.

    Formula: W minimises mean ||W x - y||^2 + PRIOR * v * ||W - W_copied||^2 over the pixels of all images; x: what the student's layers before
    give, y: what the source's convolution gives in the picked channels, both less their means; v: the mean variance of x.
    """
    training = student.training
    student.eval()
    chunks: Chunks = [(student.pixels(few), source.pixels(few)) for few in images.split(CHUNK)]
    for stretch in stretches:
        for block in stretch.skipped:
            chunks = [(x, block(y)) for x, y in chunks]
        for index, part in enumerate(stretch.parts):
            (fit_statistics if part.columns is None else fit_weights)(part, run(stretch.parts[:index], chunks))
        chunks = [(stretch.own(x), stretch.theirs(y)) for x, y in chunks]
    student.train(training)


def run(parts: list[Part], chunks: Chunks) -> Iterator[tuple[Tensor, Tensor]]:
    """The chunks behind these layers, one at a time, because the wide maps inside of blocks may not fit into memory together."""
    for x, y in chunks:
        for part in parts:
            x, y = part.own(x), part.theirs(y)
        yield x, y


def fit_weights(part: Part, chunks: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Weights of a 1x1 layer by least squares, and with them the statistics of its norm."""
    count, total = 0, torch.zeros(0)
    for x, y in chunks:
        both = torch.cat([x, part.theirs.conv(y)[:, part.rows]], 1).transpose(0, 1).flatten(1)  # (C + C', pixels)
        both = torch.cat([both, both.new_ones(1, both.shape[1])])  # the last line makes the sums
        moments = (both @ both.T).double()
        total = moments if not count else total + moments
        count += both.shape[1]
    inputs = part.own.conv.in_channels
    mean = total[-1, :-1] / count  # (C + C',)
    variance = total[:-1, :-1] / count - mean[:, None] * mean  # (C + C', C + C')
    xx, xy = variance[:inputs, :inputs], variance[:inputs, inputs:]
    pull = PRIOR * xx.diagonal().mean()
    copied = part.own.conv.weight.flatten(1).T.double()  # (C, C')
    weight = torch.linalg.solve(xx + pull * torch.eye(inputs, dtype=xx.dtype), xy + pull * copied).T  # (C', C)
    part.own.conv.weight.copy_(weight[:, :, None, None])
    set_statistics(part, weight @ mean[:inputs], ((weight @ xx) * weight).sum(1))


def fit_statistics(part: Part, chunks: Iterator[tuple[Tensor, Tensor]]) -> None:
    """The statistics of the norm of a stem or a depthwise layer, whose weights stay."""
    count, total, squares = 0, 0.0, 0.0
    for x, _ in chunks:
        y = part.own.conv(x).transpose(0, 1).flatten(1).double()  # (C, pixels)
        count, total, squares = count + y.shape[1], total + y.sum(1), squares + y.square().sum(1)
    mean = torch.as_tensor(total / count)
    set_statistics(part, mean, torch.as_tensor(squares / count) - mean.square())


def set_statistics(part: Part, mean: Tensor, variance: Tensor) -> None:
    """What eval mode normalises with."""
    part.own.norm.running_mean.copy_(mean)
    part.own.norm.running_var.copy_(variance.clamp(min=0))
