"""Views: the fixed variants of an image that are trained on, so that a teacher's answer to each can be stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compress.recipe import Augment


@dataclass(frozen=True)
class Views:
    """Each view is (mirrored?, pixels moved down, pixels moved right); view 0 is the image itself."""

    variants: tuple[tuple[bool, int, int], ...]

    def __len__(self) -> int:
        return len(self.variants)

    def apply(self, images: Tensor, view: np.ndarray) -> Tensor:
        """images: (N, H, W, 3) uint8, view: (N,) -> the chosen variant of each image, same shape; edges are repeated."""
        out = images.clone()
        for number in np.unique(view):
            if number:
                where = torch.from_numpy(np.flatnonzero(view == number))
                out[where] = self.vary(images[where], int(number))
        return out

    def vary(self, images: Tensor, view: int) -> Tensor:
        """One variant of every image: (N, H, W, 3) -> the same shape."""
        mirrored, down, right = self.variants[view]
        if mirrored:
            images = images.flip(2)
        if down or right:
            height, width = images.shape[1:3]
            images = images[:, (torch.arange(height) - down).clamp(0, height - 1)][:, :, (torch.arange(width) - right).clamp(0, width - 1)]
        return images


def draw_views(config: Augment, seed: int) -> Views:
    """`config.views` different variants drawn by seed, the image itself first; fewer where there are not so many."""
    moves = range(-config.shift, config.shift + 1)
    others = [(flip, down, right) for flip in ((False, True) if config.flip else (False,)) for down in moves for right in moves]
    others.remove((False, 0, 0))
    count = min(config.views - 1, len(others))
    picked = np.random.default_rng(seed).choice(len(others), size=count, replace=False).tolist() if count else []
    return Views(((False, 0, 0), *(others[i] for i in picked)))
