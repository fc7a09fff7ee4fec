"""Sounds varied for training: faster or slower, moved, partly silenced, louder or softer, in noise, each sound of a batch in a way of its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from compress.modalities.draws import uniforms

CHANGES = 6  # draws that decide how a sound is changed; those behind them are its noise


def vary_sounds(values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
    """values: (N, T) int16 and the sounds' numbers (N,) -> the same shape; `variant` as `Audio.variant` gives it.

    Speed times 1 + speed * [-1, 1] (pitch goes with it, samples between samples are interpolated); then moved by shift * [-1, 1] of the
    length; a stretch of mask * [0, 1] of the length is silent; gain * [-1, 1] decibels louder; white noise of up to `noise` of the sound's
    own root mean square. What moves in from outside is silence.
    """
    seed, number, speed, shift, mask, gain, noise = variant
    length = values.shape[1]
    draws = torch.from_numpy(uniforms(seed, number, index, CHANGES + (length if noise else 0))).float()  # (N, 6 + T)
    x, place = values.float(), torch.arange(length)[None].float()  # (N, T), (1, T)
    if speed or shift:
        factor = 1 + speed * (2 * draws[:, :1] - 1)
        moved = (shift * length * (2 * draws[:, 1:2] - 1)).round()
        x = interpolate(x, (place - moved) * factor)
    if mask:
        wide = mask * length * draws[:, 2:3]
        start = draws[:, 3:4] * (length - wide)
        x = x * ((place < start) | (place >= start + wide))
    loudness = x.square().mean(1, keepdim=True).sqrt()
    if noise:
        x = x + math.sqrt(12) * (draws[:, CHANGES:] - 0.5) * noise * draws[:, 4:5] * loudness  # of variance 1
    if gain:
        x = x * 10 ** (gain * (2 * draws[:, 5:6] - 1) / 20)
    return x.round().clamp(-32768, 32767).to(values.dtype)


def interpolate(x: Tensor, place: Tensor) -> Tensor:
    """x: (N, T) at the places (N, T), between two samples by their distance; 0 outside."""
    last = x.shape[1] - 1
    early = place.floor()
    share = place - early
    index = early.long()
    first, second = (x.gather(1, (index + step).clamp(0, last)) * ((index + step >= 0) & (index + step <= last)) for step in (0, 1))
    return first * (1 - share) + second * share
