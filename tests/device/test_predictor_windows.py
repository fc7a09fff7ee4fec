"""A sound that is longer than the model hears, answered window by window, by a program and by `run.py predict --hop`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from compress.device.errors import DeviceError
from compress.device.main import main
from compress.device.predictor import Predictor
from compress.device.sessions import open_session
from compress.io_spec import IOSpec, Port
from compress.stages.bundle import write_bundle
from compress.tasks.task import task

RATE, LENGTH = 1000, 100
LABELS = ["up", "down"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells whether the mean of 100 samples is above or below zero."""
    folder = tmp_path_factory.mktemp("windows")
    nodes = [
        helper.make_node("Cast", ["audio"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    constants = {"axes": np.array([1]), "weight": np.float32([[1e-3, -1e-3]])}
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("audio", TensorProto.INT32, ["batch", LENGTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "fp32.onnx")
    golden = {"audio": np.random.default_rng(0).integers(-999, 999, (4, LENGTH)).astype(np.int32)}
    golden["logits"] = open_session(folder / "fp32.onnx").run(golden)["logits"]
    golden["labels"] = golden["logits"].argmax(-1)
    port = Port("audio", "int32", (LENGTH,), -32768, 32767, reading={"rate": RATE})
    write_bundle(
        folder / "bundle",
        models={"fp32": folder / "fp32.onnx"},
        chosen="fp32",
        io_spec=IOSpec((port,), (Port("logits", "float32", (2,)),), max_batch=2),
        task=task("single_label"),
        labels=LABELS,
        assets=[],
        recipe_yaml="name: windows\n",
        summary={"name": "windows"},
        licences=[],
        golden=golden,
        engine=None,
    )
    return folder / "bundle"


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
