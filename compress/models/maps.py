"""Maps: what an image encoder knows of each place, at several sizes; it gives them where its `forward` takes `maps`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port

Sizes = list[tuple[int, int]]  # (C, side) of square maps, the finest first


class Maps(tuple[Tensor, ...]):
    """(N, C, H, W) each, the finest first."""

    __slots__ = ()


def map_by_map(x: Tensor, layers: Iterable[nn.Module]) -> Maps:
    """The last map of each size on the way of x (N, C, H, W) through the layers."""
    found = []
    for layer in layers:
        y = layer(x)
        if y.shape[2] != x.shape[2]:
            found.append(x)
        x = y
    return Maps([*found, x])


def gives_maps(encoder: nn.Module) -> bool:
    """Whether an encoder can be asked for its maps."""
    return "maps" in inspect.signature(encoder.forward).parameters


@torch.no_grad()
def sizes_from(encoder: nn.Module, port: Port, grid: int) -> Sizes:
    """Of the maps of an encoder, found by encoding zeros, that of `grid` pixels a side and those behind it, as long as each has half the side.

    Raises: RecipeError for an encoder without maps, or none of that side.
    """
    if not gives_maps(encoder):
        raise RecipeError(f"{port.name}: {type(encoder).__name__} gives no maps, which an answer for each place is made of; take another")
    training, blank = encoder.training, torch.zeros((1, *port.shape), dtype=getattr(torch, port.dtype))
    found = [(x.shape[1], x.shape[2]) for x in encoder.eval()(blank, maps=True)]
    encoder.train(training)
    halves = {grid >> step for step in range(grid.bit_length()) if grid % (1 << step) == 0}
    sizes = list(takewhile(lambda size: size[1] in halves, (size for size in found if size[1] <= grid)))
    if not sizes or sizes[0][1] != grid:
        sides = ", ".join(str(side) for _, side in found)
        raise RecipeError(
            f"{port.name}: {grid} x {grid} places are to be answered for, and {type(encoder).__name__} has maps of {sides} pixels a side of "
            f"pictures of {port.shape[0]}; set data.task_options.stride, or the size of the pictures, so that one of them fits"
        )
    return sizes


class FlatMaps(nn.Module):
    """An encoder whose maps of these sizes lie behind each other as one vector (N, D), so that they are stored as features are."""

    def __init__(self, encoder: Any, sizes: Sizes) -> None:
        super().__init__()
        self.encoder, self.sizes = encoder, sizes
        self.width = sum(channels * side**2 for channels, side in sizes)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([x.flatten(1) for x in pick_maps(self.encoder(image, maps=True), self.sizes)], 1)

    def load_pretrained(self) -> None:
        """The encoder's own."""
        self.encoder.load_pretrained()

    def tunable(self) -> list[nn.Module]:
        """The encoder's blocks from input to output."""
        return self.encoder.tunable() if hasattr(self.encoder, "tunable") else [self.encoder]


def pick_maps(x: Maps | Tensor, sizes: Sizes) -> list[Tensor]:
    """Of an encoder's maps, or of the vector (N, D) of `FlatMaps`, the maps of these sizes."""
    if isinstance(x, Maps):
        return [one for one in x if (one.shape[1], one.shape[2]) in sizes]
    parts = x.split([channels * side**2 for channels, side in sizes], 1)
    return [part.unflatten(1, (channels, side, side)) for part, (channels, side) in zip(parts, sizes, strict=True)]
