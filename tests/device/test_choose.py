"""Choosing the model of a device from its measurements, and answering with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.device.choose import choose, pick, stored_choice
from compress.device.contents import read_bundle
from compress.device.errors import DeviceError
from compress.device.info import device_name
from compress.device.main import main
from compress.device.manifest import hash_file, verify_folder

QUESTION = ["--question", "what colour is the square ?"]


def line(model: str, low: float, median: float, high: float, batch: int = 1) -> dict[str, Any]:
    return {"model": model, "batch": batch, "low_ms": low, "median_ms": median, "high_ms": high}


def write_measurements(folder: Path, lines: list[dict[str, Any]], **changes: Any) -> Path:
    """What bench would have written on this device, with the given times."""
    measured = {
        "kind": "measurements",
        "bundle": hash_file(folder / "manifest.json"),
        "device": {"name": device_name()},
        "runtime": {"name": "onnxruntime_cpu", "version": "onnxruntime 1"},
        "threads": 1,
        "measurements": lines,
    }
    (folder / "measurements.json").write_text(json.dumps({**measured, **changes}))
    return folder / "measurements.json"


FP32_FIRST = [line("fp32", 0.9, 1.0, 1.1), line("int8_qat", 1.9, 2.0, 2.1)]
INT8_FIRST = [line("fp32", 1.9, 2.0, 2.1), line("int8_qat", 0.9, 1.0, 1.1)]


@pytest.mark.parametrize(("lines", "name"), [(FP32_FIRST, "fp32"), (INT8_FIRST, "int8_qat")])
def test_the_fastest_model_is_chosen_and_predict_uses_it(
    bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str], lines: list[dict[str, Any]], name: str
) -> None:
    choice = choose(read_bundle(bundle), measurements=write_measurements(bundle, lines))
    assert choice["model"] == name
    assert json.loads((bundle / "chosen.json").read_text()) == choice
    assert main(["predict", "--image", str(picture), *QUESTION, "--json"], folder=bundle) == 0
    assert json.loads(capsys.readouterr().out)["model"] == name


def test_predict_prefers_a_named_model(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose(read_bundle(bundle), measurements=write_measurements(bundle, INT8_FIRST))
    assert main(["predict", "--image", str(picture), *QUESTION, "--json", "--model", "fp32"], folder=bundle) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "fp32"


def test_a_tie_goes_to_the_smaller_file() -> None:
    # a is fastest at 1.0 [0.9, 1.1]; the median of b lies in that, the one of c does not, though c's interval overlaps it
    lines = {"a": line("a", 0.9, 1.0, 1.1), "b": line("b", 1.0, 1.05, 1.3), "c": line("c", 1.05, 1.2, 1.4)}
    assert pick(lines, {"a": 300, "b": 200, "c": 100}) == "b"
    assert pick(lines, {"a": 200, "b": 200, "c": 100}) == "a"


def test_a_model_with_other_answers_is_out(bundle: Path) -> None:
    opened = read_bundle(bundle)
    strict = tuple(model if model.name == "fp32" else type(model)(**{**vars(model), "tolerance": -1.0}) for model in opened.models)
    opened = type(opened)(**{**vars(opened), "models": strict})
    choice = choose(opened, measurements=write_measurements(bundle, INT8_FIRST))
    assert choice["model"] == "fp32"
    assert "fails its golden answers" in choice["verdicts"]["int8_qat"]


def test_nothing_is_chosen_where_no_model_holds(bundle: Path) -> None:
    opened = read_bundle(bundle)
    with pytest.raises(DeviceError, match=r"no model can be chosen for batch 8: fp32 was not measured at batch 8; int8_qat was not"):
        choose(opened, measurements=write_measurements(bundle, FP32_FIRST), batch=8)
    assert not (bundle / "chosen.json").exists()


def test_a_choice_says_why_and_leaves_the_bundle_verified(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--batches", "1", "--rounds", "3", "--warmup", "1"], folder=bundle) == 0
    capsys.readouterr()
    assert main(["choose"], folder=bundle) == 0
    chosen, other, written = capsys.readouterr().out.splitlines()
    assert "at batch 1 in onnxruntime_cpu, 1 thread(s); golden answers hold" in chosen
    assert {chosen.split(":")[0], other.split(" takes")[0]} == {"fp32", "int8_qat"}
    assert str(bundle / "chosen.json") in written
    verify_folder(bundle)


def test_a_choice_holds_for_its_runtime_only(bundle: Path) -> None:
    opened = read_bundle(bundle)
    assert stored_choice(opened, runtime="onnxruntime_cpu") is None
    choose(opened, measurements=write_measurements(bundle, INT8_FIRST))
    assert stored_choice(opened, runtime="onnxruntime_cpu") == "int8_qat"
    assert stored_choice(opened, runtime="onnxruntime_cuda") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle": "0" * 64}, "not a choice made for this bundle"),
        ({"model": "../evil"}, "not a choice made for this bundle"),
        ({"model": ["fp32"]}, "not a choice made for this bundle"),
        ({"device": "another board"}, "chosen on 'another board'"),
    ],
)
def test_a_choice_made_elsewhere_is_refused(bundle: Path, changes: dict[str, Any], message: str) -> None:
    opened = read_bundle(bundle)
    choice = choose(opened, measurements=write_measurements(bundle, INT8_FIRST))
    (bundle / "chosen.json").write_text(json.dumps({**choice, **changes}))
    with pytest.raises(DeviceError, match=message):
        stored_choice(opened, runtime="onnxruntime_cpu")


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_a_broken_choice_is_refused(bundle: Path, text: str) -> None:
    (bundle / "chosen.json").write_text(text)
    with pytest.raises(DeviceError, match=r"chosen\.json: .* delete it"):
        stored_choice(read_bundle(bundle), runtime="onnxruntime_cpu")


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        (FP32_FIRST, {"bundle": "0" * 64}, "taken with another bundle"),
        (FP32_FIRST, {"device": {"name": "another board"}}, "taken on 'another board'"),
        (FP32_FIRST, {"kind": "choice"}, "holds 'choice'"),
        (FP32_FIRST, {"device": None}, "not measurements of this runner"),
        ([line("int4", 1, 1, 1)], {}, "times a model 'int4'"),
        ([line("fp32", 1, float("nan"), 1)], {}, "a time of 'fp32' that is none"),
    ],
)
def test_measurements_that_say_nothing_here_are_refused(bundle: Path, lines: list, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=f"{message}.*run `run.py bench` here first"):
        choose(read_bundle(bundle), measurements=write_measurements(bundle, lines, **changes))


def test_missing_measurements_name_the_command(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose"], folder=bundle) == 1
    assert "measurements.json: no such file; run `run.py bench` here first" in capsys.readouterr().err
