"""A sound in the form of a port: cut, padded, and the same samples in training and on a device, whatever the file is."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from compress.data.rows import Distinct
from compress.device.errors import AudioError, DeviceError
from compress.device.modalities.audio import decode, read, windows
from compress.modalities.modality import modality

ROOM = modality("audio")


def noise(seconds: float, rate: int, channels: int = 1, *, seed: int = 0) -> np.ndarray:
    """(T, C) float64, neither silent nor clipped."""
    return np.random.default_rng(seed).normal(size=(max(1, round(seconds * rate)), channels)).clip(-4, 4) / 8


def wav(samples: np.ndarray, rate: int, *, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def test_short_sound_is_padded_with_silence_behind_it() -> None:
    got = decode(wav(np.array([0.5, -0.5]), 8000), samples=5, rate=8000)
    assert got.tolist() == [16384, -16384, 0, 0, 0] and got.dtype == np.int16


def test_long_sound_is_cut_behind_its_start() -> None:
    assert decode(wav(np.arange(1, 9) / 32768, 8000, subtype="FLOAT"), samples=3, rate=8000).tolist() == [1, 2, 3]


def test_silence_is_told() -> None:
    for silent in (np.zeros(100), np.concatenate([np.zeros(50), np.ones(50)])):
        with pytest.raises(AudioError, match="silent audio: nothing but zeros in its first 0.005 seconds"):
            decode(wav(silent, 8000), samples=40, rate=8000)


@pytest.mark.parametrize("target", [8000, 16000])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
)
def test_device_gives_the_samples_that_training_stored(tmp_path: Path, target: int, rate: int, kind: str, subtype: str) -> None:
    cells = [
        wav(noise(seconds, rate, channels, seed=channels), rate, kind=kind, subtype=subtype)
        for seconds, channels in ((0.001, 1), (0.1, 2), (0.25, 1), (0.4, 5))
    ]
    words = SimpleNamespace(seconds=0.25, rate=target)
    inputs = Distinct(pa.array(["a", "b", "c", "d"]), pa.chunked_array([pa.array(cells)]), np.arange(4))
    failures = ROOM.store(inputs, {"audio": words}, folder=tmp_path, threads=2)
    port, stored = json.loads(json.dumps(asdict(ROOM.port(words, None)))), ROOM.open(tmp_path, "audio")
    assert stored.shape == (4, round(0.25 * target)) and stored.dtype == np.int16
    assert failures == {} and stored.any(axis=1).all()
    for cell, row in zip(cells, stored, strict=True):
        got = read(cell, port, tmp_path)
        assert got.dtype == np.int32 and got.shape == (1, *port["shape"])
        np.testing.assert_array_equal(got[0], row)


def test_unusable_sound_is_told_with_a_way_out(tmp_path: Path) -> None:
    port = asdict(ROOM.port(SimpleNamespace(seconds=1, rate=8000), None))
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(DeviceError, match=r"a.wav: not audio: .*; give --audio a whole WAV or FLAC file"):
        read(tmp_path / "a.wav", port, tmp_path)
    with pytest.raises(DeviceError, match="<8 bytes>: not audio"):
        read(b"no sound", port, tmp_path)


def port_of(samples: int, rate: int) -> dict:
    return {"name": "audio", "dtype": "int32", "shape": [samples], "reading": {"rate": rate}}


@pytest.mark.parametrize(
    ("length", "hop", "places"),
    [
        (100, 0.05, [(0, 0.1)]),  # no longer than a window
        (40, 0.05, [(0, 0.04)]),
        (200, 0.1, [(0, 0.1), (0.1, 0.2)]),
        (201, 0.1, [(0, 0.1), (0.1, 0.2), (0.2, 0.201)]),  # the last one is padded
        (200, 0.05, [(0, 0.1), (0.05, 0.15), (0.1, 0.2)]),
        (300, 0.15, [(0, 0.1), (0.15, 0.25)]),  # what lies between is not heard
    ],
)
def test_windows_reach_the_end_of_the_sound(length: int, hop: float, places: list[tuple[float, float]]) -> None:
    samples = np.arange(1, length + 1)
    found = windows(wav(samples / 32768, 1000, subtype="FLOAT"), port_of(100, 1000), hop)
    assert [(start, end) for start, end, _ in found] == [(pytest.approx(a), pytest.approx(b)) for a, b in places]
    for start, end, got in found:
        assert got is not None and got.dtype == np.int32 and got.shape == (100,)
        part = samples[round(start * 1000) : round(end * 1000)]
        np.testing.assert_array_equal(got, np.pad(part, (0, 100 - len(part))))


def test_window_without_a_sound_holds_nothing() -> None:
    samples = np.concatenate([np.ones(100), np.zeros(100), np.ones(50)]) / 2
    assert [got is None for *_, got in windows(wav(samples, 1000), port_of(100, 1000), 0.1)] == [False, True, False]


@pytest.mark.parametrize("hop", [0, -1, 1e-9, float("nan"), float("inf")])
def test_hop_is_at_least_a_sample(hop: float) -> None:
    with pytest.raises(DeviceError, match="give the seconds from window to window, at least 0.001"):
        windows(wav(np.ones(9), 1000), port_of(100, 1000), hop)


def test_windows_of_what_is_no_sound_are_refused() -> None:
    with pytest.raises(DeviceError, match="<8 bytes>: not audio: .*; give --audio a whole WAV or FLAC file"):
        windows(b"no sound", port_of(100, 1000), 0.1)
