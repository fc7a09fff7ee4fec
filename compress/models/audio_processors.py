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
from compress.models.log_mel import Bands, in_float32, mel_bank, waves
from compress.models.processors import read_files

AST_FLOOR = 2.0**-23  # float32's epsilon, as Kaldi has it
CLAP_FLOOR = 1e-10
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
    "Clap": {
        "sampling_rate": 48000,
        "feature_size": 64,
        "hop_length": 480,
        "fft_window_size": 1024,
        "max_length_s": 10,
        "frequency_min": 0,
        "frequency_max": 14000,
        "truncation": "fusion",
        "padding": "repeatpad",
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
    described = {"kind": kind, **{key: given.get(key, default) for key, default in KINDS[kind].items()}}
    if kind == "Clap" and (described["truncation"], described["padding"]) != ("rand_trunc", "repeatpad"):
        raise RecipeError(
            f"teacher: {folder}: its extractor has truncation {described['truncation']} and padding {described['padding']}; of CLAP those are built "
            "that have rand_trunc and repeatpad, such as laion/clap-htsat-unfused"
        )
    return described


def require_audio_processor(folder: Path, rate: int, *, seconds: float = 0.0) -> dict[str, Any]:
    """As `read_audio_processor`; raises DependencyError where there is no file, RecipeError where it hears another rate, or no sound as long."""
    described = read_audio_processor(folder)
    if not described:
        raise DependencyError(f"teacher: {folder} has no preprocessor_config.json; save its feature extractor there")
    if described["sampling_rate"] != rate:
        raise RecipeError(
            f"teacher: {folder} hears {described['sampling_rate']:,} samples a second, not {rate:,}; leave teacher.inputs.audio.rate out"
        )
    if seconds > described.get("max_length_s", seconds):
        raise RecipeError(
            f"teacher: {folder} hears {described['max_length_s']} s, not {seconds:g}; set teacher.inputs.audio.seconds to that"
        )
    return described


def build_front(described: dict[str, Any]) -> nn.Module:
    """The module (N, T) samples -> `input_values` (of CLAP: `input_features`) of what `read_audio_processor` gave."""
    return {"Wav2Vec2": Waveform, "AST": Filterbank, "Clap": Decibels}[described["kind"]](described)


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


class Decibels(nn.Module):
    """(N, T) samples -> (N, 1, frames, M): CLAP's mel bands in decibels of a sound that is no longer than the model hears.

    A short sound is repeated as often as it fits whole, with silence behind (`repeatpad`); it ends at its last sample that is not 0.
    Formula: 10 lg max(1e-10, sum of a band's |Fourier transform|^2), of frames around every hop, the ends mirrored.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        super().__init__()
        rate, points = described["sampling_rate"], described["fft_window_size"]
        low, high = described["frequency_min"], described["frequency_max"]
        bank = mel_bank(rate, points, described["feature_size"], low=low, high=high, slaney=True)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(points) / points)
        self.bands = Bands(waves(points, points) * hann, bank, hop=described["hop_length"])
        self.edge, self.count = points // 2, int(described["max_length_s"] * rate)

    def forward(self, samples: Tensor) -> Tensor:
        with in_float32(samples):
            x = samples.float()
            length = (torch.arange(1, x.shape[1] + 1, device=x.device) * (x != 0)).amax(1, keepdim=True).clamp(min=1)  # (N, 1)
            place = torch.arange(self.count, device=x.device)[None]
            within = place % length  # (N, count)
            x = x.gather(1, within) * (place - within + length <= self.count)
            x = nn.functional.pad(x[:, None], (self.edge, self.edge), mode="reflect")[:, 0]
            return (10 * self.bands(x).clamp(min=CLAP_FLOOR).log10()).transpose(1, 2)[:, None]
