"""Measurements files: which are taken, what they are held against, and where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import BundleError, CompressError, EngineError, ParityError
from compress.fleet.measurements import (
    BenchOptions,
    bench_here,
    measurement_lines,
    place_beside,
    read_measurements,
    require_same_models,
    runner_error,
)

OPTIONS = BenchOptions(batches=(1, 4), rounds=3)


@pytest.fixture
def measured(bundle: Path, tmp_path: Path) -> dict[str, Any]:
    return bench_here(bundle, tmp_path / "measurements.json", OPTIONS)


def test_bench_here_measures_by_the_runner_and_changes_no_file_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    before = sorted(bundle.rglob("*"))
    measured = bench_here(bundle, tmp_path / "out.json", OPTIONS)
    assert read_measurements(tmp_path / "out.json") == measured
    assert {line["batch"] for line in measured["measurements"]} == {1, 4}
    assert {line["rounds"] for line in measured["measurements"]} == {3}
    assert sorted(bundle.rglob("*")) == before


def test_bench_here_starts_no_runner_that_was_changed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "run.py").write_text("open('ran', 'w')")
    with pytest.raises(BundleError, match=r"run\.py"):
        bench_here(bundle, tmp_path / "out.json", OPTIONS)


def test_bench_here_quotes_the_runner(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=r"run\.py bench: unknown model 'int4'; this bundle holds fp32, int8_qat"):
        bench_here(bundle, tmp_path / "out.json", BenchOptions(model="int4"))


@pytest.mark.parametrize(("code", "kind"), [(1, CompressError), (7, ParityError), (8, EngineError), (9, BundleError)])
def test_the_error_of_a_runner_keeps_its_kind_and_last_line(code: int, kind: type[CompressError]) -> None:
    error = runner_error(code, "a warning\nerror: logits differ\n\n", place="board: verify")
    assert type(error) is kind
    assert str(error) == "board: verify: logits differ"
    assert str(runner_error(code, "", place="board")) == f"board: ended with exit code {code}"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "summary"},
        {"schema": 2},
        {"threads": "1"},
        {"device": {}},
        {"sensors": {"before": {}, "after": {}}},
        {"measurements": []},
        {"measurements": [{}]},
        {"bundle": None},
    ],
)
def test_a_file_that_bench_did_not_write_is_refused(measured: dict[str, Any], tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "other.json").write_text(json.dumps({**measured, **change}))
    with pytest.raises(CompressError, match=r"other\.json: not measurements"):
        read_measurements(tmp_path / "other.json")


@pytest.mark.parametrize(("key", "value"), [("median_ms", float("nan")), ("p95_ms", -1.0), ("rounds", 0), ("sha256", 5), ("batch", "1")])
def test_a_line_with_an_impossible_value_is_refused(measured: dict[str, Any], tmp_path: Path, key: str, value: Any) -> None:
    measured["measurements"][0][key] = value
    (tmp_path / "other.json").write_text(json.dumps(measured))
    with pytest.raises(CompressError, match="not measurements"):
        read_measurements(tmp_path / "other.json")


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "\x00"])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(CompressError, match=r"other\.json: not measurements"):
        read_measurements(tmp_path / "other.json")
    with pytest.raises(CompressError, match=r"none\.json: cannot be read .*compress bench"):
        read_measurements(tmp_path / "none.json")


def test_measurements_of_the_same_files_are_taken_and_of_others_refused(measured: dict[str, Any], bundle: Path) -> None:
    require_same_models({**measured, "bundle": "0" * 64}, bundle, place="a.json")  # packed again around the same models
    measured["measurements"][1]["sha256"] = "0" * 64
    with pytest.raises(BundleError, match=r"a\.json: measured another bundle: its int8_qat has sha256 000000000000"):
        require_same_models(measured, bundle, place="a.json")


def test_the_table_has_a_line_for_each_model_and_batch(measured: dict[str, Any]) -> None:
    lines = measurement_lines(measured)
    assert lines[0].endswith("(onnxruntime_cpu), 1 thread(s)")
    assert [line.split()[:2] for line in lines[2:]] == [["fp32", "1"], ["int8_qat", "1"], ["fp32", "4"], ["int8_qat", "4"]]


def test_files_are_written_beside_a_bundle_and_never_into_the_store(tmp_path: Path) -> None:
    stored = tmp_path / "runs" / ".store" / "bundle" / "ab" / "bundle"
    stored.mkdir(parents=True)
    (stored / "run.py").touch()
    run = tmp_path / "runs" / "mine"
    run.mkdir()
    (run / "12-bundle").symlink_to("../.store/bundle/ab")
    copy = tmp_path / "usb" / "copy"
    copy.mkdir(parents=True)
    (copy / "run.py").touch()
    places = {
        "mine": run,
        str(run): run,
        str(run / "12-bundle" / "bundle"): run,
        str(stored): tmp_path / "runs",
        str(copy): tmp_path / "usb",
    }
    for target, place in places.items():
        assert place_beside(target, runs=tmp_path / "runs") == place, target
