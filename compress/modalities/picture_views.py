"""Pictures varied for training: mirrored, moved, cropped, turned, in other colours or sketched, each picture of a batch in a way of its own."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compress.modalities.draws import uniforms

GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601
SOFT = 16  # parts of a picture's side that a sketch is smoothed over
ASPECT = 4 / 3  # a crop is at most this much wider or higher than the picture


def vary_pictures(values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
    """values: (N, H, W, 3) uint8 and the pictures' numbers (N,) -> the same shape; `variant` as `Image.variant` gives it.

    A crop keeps between `crop` and all of the area (uniform), its sides differ by up to ASPECT, its place is uniform; all geometry is one
    bilinear sampling, so that nothing is blurred twice. Colours: brightness, contrast and saturation times 1 + colour * [-1, 1]. By the chance `sketch` a picture
    becomes its sketch.
    """
    seed, number, mirrored, shift, crop, rotate, colour, sketch = variant
    if mirrored:
        values = values.flip(2)
    draws = torch.from_numpy(uniforms(seed, number, index, 10)).float()  # (N, 10)
    x: Tensor = values
    if shift or crop < 1 or rotate:
        x = sample(values.permute(0, 3, 1, 2).float(), transforms(draws, values.shape[1:3], shift=shift, crop=crop, rotate=rotate))
        x = x.permute(0, 2, 3, 1)
    if colour:
        x = recolour(x.float(), 1 + colour * (2 * draws[:, 6:9] - 1))
    if sketch:
        x = torch.where((draws[:, 9] < sketch)[:, None, None, None], as_sketch(x.float()), x.float())
    return values if x is values else x.round().clamp(0, 255).to(torch.uint8)


def carry_labels(labels: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
    """labels: (N, S, S) integers of places of the pictures `index` -> the same shape, moved as `vary_pictures` moves these; of the nearest place.

    `shift` counts pixels of the picture, which a coarser square of labels cannot follow: it is for a recipe to leave out.
    """
    seed, number, mirrored, _, crop, rotate, *_ = variant
    if mirrored:
        labels = labels.flip(2)
    if crop == 1 and not rotate:
        return labels
    draws = torch.from_numpy(uniforms(seed, number, index, 10)).float()
    theta = transforms(draws, labels.shape[1:3], shift=0, crop=crop, rotate=rotate)
    return sample(labels[:, None].float(), theta, mode="nearest")[:, 0].to(labels.dtype)


def lay_over(pictures: Tensor, others: Tensor, share: float) -> Tensor:
    """share * pictures + (1 - share) * others, (N, H, W, 3) uint8. Source: arXiv 1710.09412, equation 1."""
    return torch.lerp(others.float(), pictures.float(), share).round().to(torch.uint8)


def cut_in(pictures: Tensor, others: Tensor, share: float, across: float, down: float) -> tuple[Tensor, float]:
    """(N, H, W, 3) uint8 with a rectangle of 1 - share of the area from the others, and the share left of the first.

    Its sides are as those of the picture, its centre is at (across, down), in shares of the sides; what lies outside is cut off, so that
    more may be left. Source: arXiv 1905.04899, equations 1 and 2.
    """
    sides, half = pictures.shape[1:3], (1 - share) ** 0.5 / 2
    (top, bottom), (left, right) = (
        tuple(round(min(max(place + end, 0), 1) * side) for end in (-half, half)) for place, side in zip((down, across), sides, strict=True)
    )
    out = pictures.clone()
    out[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return out, 1 - (bottom - top) * (right - left) / (sides[0] * sides[1])


def transforms(draws: Tensor, size: tuple[int, ...], *, shift: int, crop: float, rotate: float) -> Tensor:
    """(N, 2, 3): from places in the view to places in the picture, both from -1 to 1. draws: (N, 10) in [0, 1)."""
    height, width = size
    area = crop + (1 - crop) * draws[:, 0]
    aspect = torch.exp((2 * draws[:, 1] - 1) * math.log(ASPECT)) if crop < 1 else torch.ones_like(area)
    wide, high = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    across, down = (2 * draws[:, 2] - 1) * (1 - wide), (2 * draws[:, 3] - 1) * (1 - high)
    if shift:  # whole pixels: views that only move stay sharp
        across = across - 2 * ((2 * shift + 1) * draws[:, 2]).floor().sub(shift) / width
        down = down - 2 * ((2 * shift + 1) * draws[:, 3]).floor().sub(shift) / height
    angle = torch.deg2rad(rotate * (2 * draws[:, 4] - 1))
    cos, sin, ratio = angle.cos(), angle.sin(), height / width
    rows = torch.stack([wide * cos, -high * sin * ratio, across, wide * sin / ratio, high * cos, down], 1)
    return rows.view(-1, 2, 3)


def sample(pictures: Tensor, theta: Tensor, *, mode: str = "bilinear") -> Tensor:
    """(N, C, H, W) float -> the same shape, bilinear or nearest; places outside repeat the edge."""
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="border", align_corners=False)


def as_sketch(pictures: Tensor) -> Tensor:
    """(N, H, W, 3) float -> the same shape: grey over the mean grey around it, at most white, so that edges are left on white.

    Formula: 255 min(1, (g + 1) / (mean(g) + 1)), the mean over a square of about a SOFT-th of the side each way: a colour dodge with the blurred
    negative, as sketches are made of photographs.
    """
    grey = (pictures * torch.tensor(GREY)).sum(3)[:, None]  # (N, 1, H, W)
    around = max(1, grey.shape[2] // SOFT)
    mean = F.avg_pool2d(F.pad(grey, [around] * 4, mode="replicate"), 2 * around + 1, 1)
    return (255 * ((grey + 1) / (mean + 1)).clamp(max=1)).permute(0, 2, 3, 1).expand_as(pictures)


def recolour(pictures: Tensor, factors: Tensor) -> Tensor:
    """(N, H, W, 3) float and (N, 3) factors of brightness, contrast and saturation -> the same shape."""
    brightness, contrast, saturation = (f.view(-1, 1, 1, 1) for f in factors.unbind(1))
    x = pictures * brightness
    grey = (x * torch.tensor(GREY)).sum(3, keepdim=True)
    mean = grey.mean((1, 2), keepdim=True)
    return (grey + (x - grey) * saturation - mean) * contrast + mean
