"""The log-mel spectrogram as the first part of a graph: raw samples (N, T) int16 -> bands (N, 1, M, F) float32, with fixed weights.

Frames are slices, the Fourier transform is four small convolutions: what any runtime has. `mel_bank` gives the bands, also to others.
"""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.layers import FrontEnd

FLOOR = 1e-9  # power of a band below which nothing is told apart; 1 is a sine at full scale, beside which float32 has no digits below
LOWEST_HZ = 20.0


class LogMel(FrontEnd):
    """(N, T) samples -> (N, 1, M, F): ln(max(power of the band, floor) / floor), 0 to 21, of frames of two hops; F = T // hop - 1.

    Zero is silence, and so is what convolutions behind it pad with. Always in float32: a power spans more decades than float16 holds, and
    has more digits than bfloat16. Hann's window is symmetric, so a frame is folded at its middle, c = (L - 1) / 2, before it is transformed,
    sum x(n) cos(k (n - c)) = sum (x(n) + x(L - 1 - n)) cos(k (n - c)) over half of n, and once more at its quarters, where the sign
    depends on whether k is odd. Measured at 8 kHz, 40 bands, hop 128, one row: 174 kB folded once, 111 kB twice, 304 kB not at all.
    """

    kind = "log_mel"
    window: Tensor
    bands: Tensor

    def __init__(self, *, rate: int, hop: int, mels: int) -> None:
        super().__init__()
        length = 2 * hop
        bank = mel_bank(rate, length, mels, low=LOWEST_HZ, high=rate / 2)  # (K, M)
        heard = np.flatnonzero(bank.any(axis=1))
        even, odd = heard[heard % 2 == 0], heard[heard % 2 == 1]
        order = (even, odd, odd, even)  # of the sums, then the differences, that `fold` makes twice
        hann = (
            (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) * 4 / length / 32768
        )  # a sine has two sides, Hann a mean of 1/2
        phase = 2 * np.pi * (np.arange(hop // 2) - (length - 1) / 2) / length
        waves = [part(k[:, None] * phase) for k, part in zip(order, (np.cos, np.cos, np.sin, np.sin), strict=True)]  # each (K/2, hop/2)
        self.hop = hop
        self._keep("window", hann[:, None])
        for index, wave in enumerate(waves):
            self._keep(f"wave_{index}", wave[:, :, None])
        self._keep("bands", np.concatenate([bank[k] for k in order]).T[:, :, None])  # the squares of cosines and sines are added here

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        with in_float32(samples):
            count = samples.shape[1] // self.hop
            blocks = samples[:, : count * self.hop].float().reshape(-1, count, self.hop).transpose(1, 2)  # (N, hop, F + 1)
            frames = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], 1) * self.window  # (N, 2 hop, F)
            folded = [part for half in fold(frames) for part in fold(half)]  # four times (N, hop/2, F)
            waves = torch.cat([nn.functional.conv1d(x, self.get_buffer(f"wave_{i}")) for i, x in enumerate(folded)], 1)  # (N, 2 K, F)
            power = nn.functional.conv1d(waves * waves, self.bands)  # (N, M, F)
            above = power.clamp(min=FLOOR).log() - math.log(FLOOR)
            return above.relu()[:, None]  # ReLU changes nothing, and tells a quantizer that there is no sign


class Bands(nn.Module):
    """(N, T) samples -> (N, M, F) power in bands, of frames of any length and any linear treatment, as published teachers want them.

    One convolution with `basis` (2, K, L), the cosines and sines of samples from -1 to 1, then the sum of squares by `bank` (K, M).
    """

    basis: Tensor
    bands: Tensor

    def __init__(self, basis: np.ndarray, bank: np.ndarray, *, hop: int) -> None:
        super().__init__()
        self.hop = hop
        length = basis.shape[2]
        self.register_buffer("basis", torch.from_numpy(basis.reshape(-1, 1, length) / 32768).float(), persistent=False)
        self.register_buffer("bands", torch.from_numpy(np.tile(bank.T, 2)[:, :, None]).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        waves = nn.functional.conv1d(samples.float()[:, None], self.basis, stride=self.hop)  # (N, 2 K, F)
        return nn.functional.conv1d(waves * waves, self.bands)


def waves(length: int, points: int) -> np.ndarray:
    """(2, K, length) float64: cosines and sines of the K = points // 2 + 1 frequencies of a transform of `points`, zeros behind `length`."""
    angles = 2 * np.pi * np.arange(points // 2 + 1)[:, None] * np.arange(length) / points
    return np.stack([np.cos(angles), np.sin(angles)])


def fold(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, L, F) -> the first half plus and minus the second half backwards, each (N, L/2, F)."""
    early, late = x.chunk(2, 1)
    late = late.flip(1)
    return early + late, early - late


def mel_bank(rate: int, length: int, mels: int, *, low: float, high: float, slaney: bool = False) -> np.ndarray:
    """(K, M) float64 triangular bands over the K = length // 2 + 1 frequencies; `slaney`: that scale and area 1, as Whisper has it.

    Raises: RecipeError for bands so narrow that no frequency falls into one.
    """
    from transformers.audio_utils import mel_filter_bank

    words: dict[str, Any] = {"mel_scale": "slaney", "norm": "slaney"} if slaney else {"mel_scale": "htk", "norm": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty bands, which are an error here
        bank = mel_filter_bank(length // 2 + 1, mels, low, high, rate, **words)
    if not bank.any(axis=0).all():
        raise RecipeError(f"audio: {mels} bands are too many for frames of {1000 * length / rate:g} ms; take fewer, or longer frames")
    return bank


def in_float32(x: Tensor) -> torch.autocast | nullcontext:
    """A context in which no arithmetic is narrowed; none where a graph is exported, which holds no such contexts."""
    return nullcontext() if torch.compiler.is_exporting() else torch.autocast(x.device.type, enabled=False)
