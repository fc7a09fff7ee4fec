"""Sounds in their room: stored as samples in each form, unreadable ones counted, and shown as a waveform."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from compress.data.rows import Distinct
from compress.device.errors import DeviceError
from compress.io_spec import Port
from compress.modalities.audio import COLUMNS
from compress.modalities.modality import modality

ROOM = modality("audio")


def words(seconds: float, rate: int) -> SimpleNamespace:
    return SimpleNamespace(seconds=seconds, rate=rate)


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def inputs(*cells: bytes) -> Distinct:
    return Distinct(pa.array(list(map(str, range(len(cells))))), pa.chunked_array([pa.array(cells)]), np.arange(len(cells)))


def test_port_is_int32_because_tensorrt_takes_no_int16() -> None:
    assert ROOM.port(words(0.5, 8000), None) == Port("audio", "int32", (4000,), -32768, 32767, reading={"rate": 8000})


@pytest.mark.parametrize(("seconds", "rate", "samples"), [(1, 16000, 16000), (0.3333, 8000, 2666), (1e-6, 8000, 1)])
def test_length_is_the_nearest_whole_number_of_samples(seconds: float, rate: int, samples: int) -> None:
    assert ROOM.port(words(seconds, rate), None).shape == (samples,)


def test_sounds_are_stored_once_in_each_form(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000) / 2
    forms = {"audio": words(0.5, 8000), "teacher_audio": words(1.0, 16000)}
    assert ROOM.store(inputs(wav(tone), wav(-tone)), forms, folder=tmp_path, threads=1) == {}
    own, teacher = (ROOM.open(tmp_path, file) for file in forms)
    assert own.shape == (2, 4000) and teacher.shape == (2, 16000)
    np.testing.assert_array_equal(own[0], np.rint(tone[:4000] * 32768))
    assert np.abs(teacher[0, 1000:7000:2] - own[0, 500:3500].astype(int)).max() < 40


def test_sounds_that_cannot_be_read_are_told_by_their_number(tmp_path: Path) -> None:
    cells = [wav(np.ones(9) / 2), wav(np.zeros(9)), b"no sound", wav(np.array([np.nan])), wav(np.ones((9, 100)) / 2)]
    failures = ROOM.store(inputs(*cells), {"audio": words(0.001, 8000)}, folder=tmp_path, threads=2)
    reasons = {index: reason for index, (reason, _) in failures.items()}
    assert reasons == {1: "silent audio", 2: "not audio", 3: "broken audio", 4: "too many channels"}
    assert ROOM.open(tmp_path, "audio").tolist() == [[16384] * 8, *[[0] * 8] * 4]


def test_waveform_reaches_the_edge_where_the_sound_is_loudest() -> None:
    stored = np.zeros((1, COLUMNS * 10), np.int16)
    stored[0, 25] = -100  # in the third column
    bars = re.findall(r"M(\d+) (\d+)v(\d+)", ROOM.show(stored, 0))
    assert len(bars) == COLUMNS
    assert bars[2] == ("2", "0", "48") and bars[3] == ("3", "23", "2")


def test_waveform_of_less_samples_than_columns_is_drawn() -> None:
    assert ROOM.show(np.full((1, 3), -32768, np.int16), 0).count("v48") == 3


def test_kept_sound_is_its_samples_alone_at_their_own_rate() -> None:
    tone = np.sin(np.arange(31 * 4000) / 9) / 2
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 4000, 2, format="FLAC") as sound:
        sound.title, sound.comment = "at home", "a comment"
        sound.write(np.stack([tone, tone], axis=1))
    cell = ROOM.as_cell(file.getvalue())
    assert cell.content and cell.name == f"{hashlib.sha256(cell.content).hexdigest()}.wav" and b"home" not in cell.content
    samples, rate = soundfile.read(io.BytesIO(cell.content), dtype="int16")
    assert (rate, samples.shape) == (4000, (30 * 4000,))  # one channel, and no more than a model hears
    np.testing.assert_allclose(samples / 32768, tone[: len(samples)], atol=1e-4)
    assert ROOM.as_cell(cell.content) == cell  # what was kept stays as it is
    with pytest.raises(DeviceError, match="not audio"):
        ROOM.as_cell(b"no sound")
