"""A head that answers for each place of a picture: maps by size -> logits (R, P K), place after place, row after row."""

from __future__ import annotations

from typing import Any

from torch import nn

from compress.io_spec import IOSpec, Outputs
from compress.models.layers import ConvNorm, Enlarge, Sum
from compress.models.maps import Sizes, pick_maps, sizes_from


class PixelHead(nn.Module):
    """From the coarsest map to the finest: each becomes `hidden` channels by a 1x1 convolution, what is known so far is enlarged and added.

    Then a depthwise 3x3 and a 1x1 convolution, and one linear layer for all places. Source: feature pyramids, arXiv 1612.03144, section 3,
    with sums behind ReLU, so that every convolution and sum has an int8 kernel; the linear layer's float output keeps ties out of arg-max.
    """

    def __init__(self, io: IOSpec, modality: str, sizes: Sizes, *, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        places = io.outputs[0].grid ** 2
        self.modality, self.sizes, self.places = modality, sizes, places
        self.lateral = nn.ModuleList(ConvNorm(channels, hidden, relu=place == len(sizes) - 1) for place, (channels, _) in enumerate(sizes))
        self.sums = nn.ModuleList(Sum(relu=True) for _ in sizes[1:])
        self.enlarge = Enlarge()
        self.mix = nn.Sequential(ConvNorm(hidden, hidden, kernel=3, groups=hidden), ConvNorm(hidden, hidden))
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(hidden, io.outputs[0].shape[0] // places)

    def forward(self, features: dict[str, Any]) -> Outputs:
        maps = pick_maps(features[self.modality], self.sizes)
        x = self.lateral[-1](maps[-1])
        for place in reversed(range(len(maps) - 1)):
            x = self.sums[place](self.enlarge(x), self.lateral[place](maps[place]))
        x = self.mix(x)  # (R, hidden, S, S)
        logits = self.output(self.dropout(x.permute(0, 2, 3, 1).flatten(0, 2)))  # (R P, K)
        return Outputs(logits.reshape(-1, self.places * logits.shape[1]), x.mean((2, 3)))


def pixel_head(io: IOSpec, encoders: dict[str, Any], *, hidden: int, dropout: float = 0.0) -> PixelHead:
    """Over the only encoder. Raises: RecipeError where its maps do not fit the places."""
    ((modality, encoder),) = encoders.items()
    sizes = getattr(encoder, "sizes", None) or sizes_from(encoder, io.input(modality), io.outputs[0].grid)
    return PixelHead(io, modality, sizes, hidden=hidden, dropout=dropout)
