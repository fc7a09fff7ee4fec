"""The spectrogram inside the graph against the one of transformers in float64, and what keeps it in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from compress.errors import RecipeError
from compress.models.log_mel import FLOOR, LogMel, fold, mel_bank


def reference(samples: np.ndarray, *, rate: int, hop: int, mels: int) -> np.ndarray:
    """(N, M, F) in decades above the floor by transformers, of samples scaled so that a sine at full scale has the power 1."""
    bank = mel_filter_bank(hop + 1, mels, 20.0, rate / 2, rate, norm=None, mel_scale="htk")
    window = window_function(2 * hop, "hann", periodic=False)
    options = {"power": 2.0, "center": False, "mel_filters": bank, "mel_floor": FLOOR, "log_mel": "log10", "dtype": np.float64}
    return np.stack([spectrogram(row / 32768 * 2 / hop, window, 2 * hop, hop, **options) for row in samples]) - np.log10(FLOOR)


def sounds(kind: str, count: int = 4, length: int = 8000) -> np.ndarray:
    """(N, T) int16."""
    random, time = np.random.default_rng(0), np.arange(length)
    made = {
        "noise": lambda i: random.normal(size=length) * 3000,
        "quiet noise": lambda i: random.integers(-2, 3, length),
        "full-scale sine": lambda i: 32767 * np.sin(2 * np.pi * (100 + 900 * i) * time / 8000),
        "square": lambda i: 32767 * np.sign(np.sin(2 * np.pi * (50 + 333 * i) * time / 8000)),
        "click": lambda i: np.where(time == 1000 + 777 * i, 32767, 0),
        "syllable": lambda i: 20000 * np.sin(time**1.5 / 300) * np.exp(-(((time - 3000) / 1500) ** 2)) + random.normal(size=length) * 20,
        "silence": lambda i: np.zeros(length),
    }[kind]
    return np.stack([np.rint(made(i)).clip(-32768, 32767) for i in range(count)]).astype(np.int16)


@pytest.mark.parametrize(("rate", "hop", "mels"), [(8000, 128, 40), (16000, 256, 40), (16000, 200, 64), (44100, 220, 20)])
@pytest.mark.parametrize("kind", ["noise", "quiet noise", "full-scale sine", "square", "click", "syllable", "silence"])
def test_spectrogram_is_that_of_transformers_within_a_thousandth_of_a_decade(kind: str, rate: int, hop: int, mels: int) -> None:
    samples = sounds(kind)
    got = LogMel(rate=rate, hop=hop, mels=mels)(torch.from_numpy(samples))[:, 0].numpy() / np.log(10)
    expected = reference(samples, rate=rate, hop=hop, mels=mels)
    assert got.shape == expected.shape == (4, mels, 8000 // hop - 1)
    np.testing.assert_allclose(got, expected, atol=1e-3, rtol=0)


def test_sine_at_full_scale_has_power_one() -> None:
    # 1000 Hz is bin 32 of 256 at 8 kHz; Hann's neighbours hold a quarter each, and a band of weight 1 there sums at most 1.5
    front = LogMel(rate=8000, hop=128, mels=40)
    power = np.exp(front(torch.from_numpy(sounds("full-scale sine", 2)[1:])).numpy()) * FLOOR
    assert 0.5 < power.max() <= 1.5


def test_silence_is_zero_and_nothing_is_below() -> None:
    front = LogMel(rate=8000, hop=128, mels=40)
    assert not front(torch.zeros(1, 8000, dtype=torch.int16)).any()
    assert (front(torch.from_numpy(sounds("quiet noise"))) >= 0).all()


def test_centred_bands_have_no_mean_and_do_not_hear_loudness() -> None:
    plain, centred = LogMel(rate=8000, hop=128, mels=40), LogMel(rate=8000, hop=128, mels=40, centre=True)
    samples = torch.from_numpy(sounds("noise"))
    found = plain(samples)
    torch.testing.assert_close(centred(samples), found - found.mean(3, keepdim=True), atol=1e-5, rtol=0)
    torch.testing.assert_close(centred(samples.int() * 4), centred(samples), atol=1e-3, rtol=0)


def test_samples_behind_the_last_whole_hop_are_not_read() -> None:
    front, samples = LogMel(rate=8000, hop=128, mels=40), torch.from_numpy(sounds("noise"))
    assert torch.equal(front(samples[:, :1280]), front(samples[:, :1407]))
    assert front(samples[:, :256]).shape == (4, 1, 40, 1)


def test_type_of_the_samples_does_not_matter() -> None:
    front, samples = LogMel(rate=8000, hop=128, mels=40), torch.from_numpy(sounds("noise"))
    assert torch.equal(front(samples), front(samples.int())) and torch.equal(front(samples), front(samples.float()))


def test_bfloat16_does_not_reach_it() -> None:
    front, samples = LogMel(rate=8000, hop=128, mels=40), torch.from_numpy(sounds("noise"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = front(samples)
    assert torch.equal(found, front(samples))


def test_its_weights_are_fixed_and_not_saved() -> None:
    front = LogMel(rate=8000, hop=128, mels=40)
    assert list(front.parameters()) == [] and front.state_dict() == {}


def test_fold_adds_and_subtracts_the_second_half_backwards() -> None:
    plus, minus = fold(torch.tensor([[1.0, 2.0, 30.0, 400.0]])[:, :, None])
    assert plus.flatten().tolist() == [401, 32] and minus.flatten().tolist() == [-399, -28]


def test_bands_that_hold_no_frequency_are_refused() -> None:
    with pytest.raises(RecipeError, match="audio: 80 bands are too many for frames of 16 ms; take fewer, or longer frames"):
        mel_bank(8000, 128, 80, low=20, high=4000)


def test_bands_of_whisper_have_area_one() -> None:
    bank = mel_bank(16000, 400, 80, low=0, high=8000, slaney=True)
    assert bank.shape == (201, 80)
    assert (bank[:, 70:].sum(0) * 40).tolist() == pytest.approx([1.0] * 10, rel=0.02)  # a bin is 40 Hz; wide bands sum well
