"""Sounds varied for training: faster or slower, moved, in a room, partly silenced, louder or softer, in noise, each of a batch in a way of its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from compress.modalities.draws import uniforms

CHANGES = 6  # draws that decide how a sound is changed; those behind them are its noise, and those behind these its room


def vary_sounds(values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
    """values: (N, T) int16 and the sounds' numbers (N,) -> the same shape; `variant` as `Audio.variant` gives it.

    Speed times 1 + speed * [-1, 1] (pitch goes with it, samples between samples are interpolated); then moved by shift * [-1, 1] of the
    length; then as in a room (see `in_rooms`), which rings for reverb * [0, 1] of the length; a stretch of mask * [0, 1] of the length is silent; gain * [-1, 1] decibels louder; white noise of up to `noise` of the sound's
    own root mean square. What moves in from outside is silence.
    """
    seed, number, speed, shift, mask, gain, noise, reverb = variant
    length = values.shape[1]
    room, ringing = CHANGES + (length if noise else 0), round(reverb * length)
    draws = torch.from_numpy(uniforms(seed, number, index, room + (2 + ringing if ringing else 0))).float()  # (N, 6 + T + 2 + R)
    x, place = values.float(), torch.arange(length)[None].float()  # (N, T), (1, T)
    if speed or shift:
        factor = 1 + speed * (2 * draws[:, :1] - 1)
        moved = (shift * length * (2 * draws[:, 1:2] - 1)).round()
        x = interpolate(x, (place - moved) * factor)
    if ringing:
        x = in_rooms(x, draws[:, room : room + 2], draws[:, room + 2 :])
    if mask:
        wide = mask * length * draws[:, 2:3]
        start = draws[:, 3:4] * (length - wide)
        x = x * ((place < start) | (place >= start + wide))
    loudness = x.square().mean(1, keepdim=True).sqrt()
    if noise:
        x = x + math.sqrt(12) * (draws[:, CHANGES:room] - 0.5) * noise * draws[:, 4:5] * loudness  # of variance 1
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


def in_rooms(x: Tensor, room: Tensor, draws: Tensor) -> Tensor:
    """x: (N, T), each with the echoes of a room of its own, as loud as before; room (N, 2) and draws (N, R) are uniform in [0, 1).

    Formula: x * h, h = 1 at once, and behind it noise of `draws` that falls by 60 dB within room[0] R samples and has room[1] of the energy of
    what comes at once. Source: the impulse response of a diffuse room, as decaying noise (Moorer, "About this reverberation business", 1979).
    """
    length, ringing = x.shape[1], draws.shape[1]
    fall = 10 ** (-3 * torch.arange(1, ringing + 1)[None] / (room[:, :1] * ringing).clamp(min=1))  # (N, R)
    echoes = (2 * draws - 1) * fall
    echoes = echoes * (room[:, 1:] / echoes.square().sum(1, keepdim=True).clamp(min=1e-12)).sqrt()
    response = torch.cat([torch.ones(len(x), 1), echoes], 1)
    size = length + ringing  # long enough that what rings past the end does not come back at the start
    wet = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)[:, :length]
    before, after = (y.square().mean(1, keepdim=True) for y in (x, wet))
    return wet * (before / after.clamp(min=1e-12)).sqrt()
