"""A sound that is longer than the model hears, answered window by window, by a program and by `run.py predict --hop`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import LENGTH, RATE, write_sound_bundle

from compress.device.errors import DeviceError
from compress.device.main import main
from compress.device.predictor import Predictor


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound_bundle(tmp_path_factory.mktemp("windows"))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Up, down, silence, up, each for a window, and half a window of down."""
    parts = [np.full(LENGTH, level) for level in (0.5, -0.5, 0, 0.25)] + [np.full(LENGTH // 2, -0.5)]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), RATE)
    return tmp_path / "a.wav"


def test_each_window_has_its_answer_and_silence_none(bundle: Path, sound: Path) -> None:
    answers = Predictor(bundle).predict_windows(0.1, audio=sound)
    assert [answer.get("label") for answer in answers] == ["up", "down", None, "up", "down"]
    assert [answer.get("silent") for answer in answers] == [None, None, True, None, None]
    assert [(answer["start_s"], answer["end_s"]) for answer in answers] == [(0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.45)]


def test_answer_of_a_window_is_that_of_the_window_alone(bundle: Path, sound: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.wav", np.full(LENGTH, -0.5), RATE)
    with Predictor(bundle) as predictor:
        alone = predictor.predict(audio=tmp_path / "b.wav")
        assert predictor.predict_windows(0.1, audio=sound)[1] == {"start_s": 0.1, "end_s": 0.2, **alone}


def test_windows_need_an_input_that_has_them(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="audio is not given, so there is nothing to read window by window"):
        Predictor(bundle).predict_windows(0.1)


def test_command_prints_a_line_a_window(bundle: Path, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--audio", str(sound), "--hop", "0.1"], folder=bundle) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("s  ")[1].split()[0] for line in lines] == ["up", "down", "silence", "up", "down"]
    assert lines[4].split("s  ")[0].split() == ["0.40", "to", "0.45"]
    assert main(["predict", "--audio", str(sound), "--hop", "0.1", "--json"], folder=bundle) == 0
    assert len(json.loads(capsys.readouterr().out)["windows"]) == 5


def test_command_without_a_hop_answers_for_the_start(bundle: Path, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--audio", str(sound)], folder=bundle) == 0
    assert capsys.readouterr().out.startswith("up ")


def test_command_ends_with_one_line_for_what_is_no_sound(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    for more in ([], ["--hop", "1"]):
        assert main(["predict", "--audio", str(tmp_path / "a.wav"), *more], folder=bundle) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "a.wav: not audio" in error and error.count("\n") == 1
