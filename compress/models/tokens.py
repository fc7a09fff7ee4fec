"""Tokens: several vectors an input, for fusions that look inside it; an encoder gives them where its `forward` takes `tokens`.

An encoder that does not, such as one of numbers, gives one token: its vector. What is pooled to a vector costs nothing for it.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compress.io_spec import Port


class Tokens(NamedTuple):
    """The positions of a map, the tokens of a text, the frames of a sound."""

    states: Tensor  # (N, T, D)
    there: Tensor | None = None  # (N, T) 1, or 0 for what only fills up; None: all are there

    def mean(self) -> Tensor:
        """(N, D) over the tokens that are there; zeros where none is."""
        if self.there is None:
            return self.states.mean(1)
        total = self.there[:, None, :] @ self.states  # (N, 1, D)
        return total[:, 0] / self.there.sum(1, keepdim=True).clamp(min=1)


def map_tokens(x: Tensor) -> Tokens:
    """The positions of a map (N, D, H, W), row after row."""
    return Tokens(x.flatten(2).transpose(1, 2))


def gives_tokens(encoder: nn.Module) -> bool:
    """Whether an encoder is asked for tokens, or its vector is the only one."""
    return "tokens" in inspect.signature(encoder.forward).parameters


@torch.no_grad()
def count_tokens(encoder: nn.Module, port: Port) -> int:
    """How many tokens T an input of this port has, found by encoding one of zeros."""
    if not gives_tokens(encoder):
        return 1
    training, blank = encoder.training, torch.zeros((1, *port.shape), dtype=getattr(torch, port.dtype))
    length = encoder.eval()(blank, tokens=True).states.shape[1]
    encoder.train(training)
    return int(length)
