"""`compress bench` and `compress report`: from the words of the command to the files and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compress.cli import app
from compress.errors import BUDGET_MISSED, BundleError, DependencyError


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run(bundle: Path) -> Path:
    """A run folder that holds the bundle."""
    folder = bundle.parent / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "12-bundle").symlink_to(bundle)
    return folder


def test_bench_writes_beside_the_bundle_and_prints_a_table(run: Path) -> None:
    result = call("bench", "mine", "--runs", run.parent, "--batches", "1", "2", "--rounds", "3")
    assert result.exit_code == 0, result.output
    lines = json.loads((run / "measurements.json").read_text())["measurements"]
    assert {line["batch"] for line in lines} == {1, 2}
    assert result.stdout.count("int8_qat") == 2
    assert result.stdout.endswith(f"written to {run / 'measurements.json'}\n")


def test_options_in_a_row_may_stand_anywhere_and_be_repeated(run: Path) -> None:
    words = ["--rounds", "2", "--batches", "1", "2", "--model", "fp32", "--batches", "4"]
    assert call("bench", run, *words, "--out", run / "x.json").exit_code == 0
    lines = json.loads((run / "x.json").read_text())["measurements"]
    assert [(line["model"], line["batch"]) for line in lines] == [("fp32", 1), ("fp32", 2), ("fp32", 4)]


@pytest.mark.parametrize("words", [["--batches", "1", "x"], ["--batches", "0"], ["--batches"], ["1"]])
def test_wrong_words_are_a_usage_error(run: Path, words: list[str]) -> None:
    assert call("bench", run, *words).exit_code == 2


def test_bench_on_a_device_ends_with_the_code_of_its_error(run: Path) -> None:
    refused = call("bench", run, "--on", "ssh://-oProxyCommand=x@board")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    unreached = call("bench", run, "--on", "ssh://tester@127.0.0.1:1")
    assert unreached.exit_code == DependencyError.exit_code
    assert unreached.stderr.startswith("error: ")


def test_report_puts_several_files_side_by_side(run: Path) -> None:
    for threads in (1, 2):
        words = ["--rounds", 2, "--batches", 1, "--threads", threads, "--out", run / f"{threads}.json"]
        assert call("bench", run, *words).exit_code == 0
    result = call("report", "mine", "--runs", run.parent, "--add", run / "1.json", run / "2.json")
    assert result.exit_code == 0, result.output
    page = (run / "report-devices.html").read_text()
    assert "onnxruntime_cpu, 1 thread<" in page and "onnxruntime_cpu, 2 threads<" in page


def test_report_refuses_measurements_of_another_bundle(run: Path) -> None:
    assert call("bench", run, "--rounds", 2, "--batches", 1).exit_code == 0
    path = run / "measurements.json"
    measured = json.loads(path.read_text())
    measured["measurements"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(measured))
    result = call("report", run, "--add", path)
    assert result.exit_code == BundleError.exit_code
    assert "measured another bundle" in result.stderr
    assert not (run / "report-devices.html").exists()


def test_report_needs_measurements(run: Path) -> None:
    assert call("report", run).exit_code == 2
    assert call("report", run, "--add", run / "none.json").exit_code == 1


def test_a_fleet_is_one_page_with_the_device_that_failed(run: Path) -> None:
    fleet = run / "fleet.yaml"
    fleet.write_text(
        "devices:\n  here: {at: local, price: 5}\n  gone: ssh://tester@127.0.0.1:1\nbatches: [1]\nrounds: 2\nbudget: {max_latency_ms: 1000}\n"
    )
    result = call("bench", "mine", "--runs", run.parent, "--fleet", fleet)
    assert result.exit_code == 0, result.output
    page = (run / "report-fleet.html").read_text()
    assert page.index("meets the budget") < page.index("gone was not measured") < page.index("Side by side")
    assert "gone: not measured: tester@127.0.0.1: not reached over ssh" in result.stdout
    fleet.write_text("devices: {here: local}\nbatches: [1]\nrounds: 2\nbudget: {max_latency_ms: 0.000001}\n")
    assert call("bench", run, "--fleet", fleet).exit_code == BUDGET_MISSED
    fleet.write_text("devices: {gone: 'ssh://tester@127.0.0.1:1'}\n")
    nothing = call("bench", run, "--fleet", fleet)
    assert nothing.exit_code == 1 and "no device could be measured" in nothing.stderr
    assert "gone was not measured" in (run / "report-fleet.html").read_text()


def test_a_fleet_says_all_itself(run: Path) -> None:
    refused = call("bench", run, "--fleet", run / "fleet.yaml", "--on", "ssh://board")
    assert refused.exit_code == 1 and "leave the other options out" in refused.stderr
