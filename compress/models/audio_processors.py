"""Feature extractors of transformers' audio classifiers, read from a model's folder without importing transformers, and done in the graph.

In: preprocessor_config.json. Out: the samples a second that the model hears, and plain data that `build_front` makes a module of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import DependencyError, RecipeError
from compress.models.log_mel import Bands, in_float32, waves
from compress.models.processors import read_files

AST_FLOOR = 2.0**-23  # float32's epsilon, as Kaldi has it
KINDS: dict[str, dict[str, Any]] = {  # class name without FeatureExtractor -> what its file may leave out
    "Wav2Vec2": {"sampling_rate": 16000, "do_normalize": True, "return_attention_mask": False},
    "AST": {
        "sampling_rate": 16000,
        "num_mel_bins": 128,
        "max_length": 1024,
        "do_normalize": True,
        "mean": -4.2677393,
        "std": 4.5689974,
    },
}


def read_audio_processor(folder: Path) -> dict[str, Any]:
    """What the feature extractor in `folder` does: its kind, and each of its settings; {} where there is no file.

    Raises: RecipeError for one that is not known here.
    """
    given = read_files(folder, part="feature_extractor")
    if not given:
        return {}
    name = str(given.get("feature_extractor_type") or "")
    kind = name.removesuffix("FeatureExtractor")
    if kind not in KINDS:
        raise RecipeError(
            f"teacher: {folder}: how a {name or 'model without a named extractor'} hears is not known here; known are {', '.join(KINDS)}"
        )
    return {"kind": kind, **{key: given.get(key, default) for key, default in KINDS[kind].items()}}


def require_audio_processor(folder: Path, rate: int) -> dict[str, Any]:
    """As `read_audio_processor`; raises DependencyError where there is no file, RecipeError where it hears another rate."""
    described = read_audio_processor(folder)
    if not described:
        raise DependencyError(f"teacher: {folder} has no preprocessor_config.json; save its feature extractor there")
    if described["sampling_rate"] != rate:
        raise RecipeError(
            f"teacher: {folder} hears {described['sampling_rate']:,} samples a second, not {rate:,}; leave teacher.inputs.audio.rate out"
        )
    return described


def build_front(described: dict[str, Any]) -> nn.Module:
    """The module (N, T) samples -> `input_values` of what `read_audio_processor` gave."""
    return Waveform(described) if described["kind"] == "Wav2Vec2" else Filterbank(described)


class Waveform(nn.Module):
    """(N, T) samples -> (N, T), of mean 0 and variance 1.

    Where the extractor makes a mask: up to the last sample that is not 0, and 0 behind it. The model hears that silence, for it gets no mask.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        super().__init__()
        self.normalise, self.masked = bool(described["do_normalize"]), bool(described["return_attention_mask"])

    def forward(self, samples: Tensor) -> Tensor:
        heard: Any
        count: Any
        with in_float32(samples):
            x = samples.float() / 32768
            if not self.normalise:
                return x
            heard, count = 1.0, float(x.shape[1])
            if self.masked:
                place = torch.arange(1, x.shape[1] + 1, device=x.device)
                length = (place * (x != 0)).amax(1, keepdim=True)  # (N, 1)
                heard, count = (place <= length).float(), length.clamp(min=1)
            centred = (x - x.sum(1, keepdim=True) / count) * heard
            return centred * torch.rsqrt((centred * centred).sum(1, keepdim=True) / count + 1e-7)


class Filterbank(nn.Module):
    """(N, T) samples -> (N, frames, M): Kaldi's filter bank, whose steps on a frame (mean taken off, pre-emphasis, window) are all linear."""

    def __init__(self, described: dict[str, Any]) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        rate, self.frames = described["sampling_rate"], described["max_length"]
        length, points = 400, 512
        centre = np.eye(length) - 1 / length
        emphasis = np.eye(length) - 0.97 * np.eye(length, k=-1)
        emphasis[0, 0] = 1 - 0.97
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
        bank = mel_filter_bank(
            points // 2 + 1, described["num_mel_bins"], 20, rate // 2, rate, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
        )
        self.bands = Bands(waves(length, points) * hann @ emphasis @ centre, bank, hop=160)
        self.mean, self.spread = 0.0, 1.0
        if described["do_normalize"]:
            self.mean, self.spread = float(described["mean"]), 2 * float(described["std"])

    def forward(self, samples: Tensor) -> Tensor:
        with in_float32(samples):
            x = self.bands(samples).clamp(min=AST_FLOOR).log()  # (N, M, F)
            x = nn.functional.pad(x[:, :, : self.frames], (0, max(0, self.frames - x.shape[2])))
            return (x.transpose(1, 2) - self.mean) / self.spread
