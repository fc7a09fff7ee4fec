"""Each task of the table goes through the whole chain, on a set whose answers follow from its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compress
from compress.data.prepared import open_data
from compress.device.manifest import verify_folder
from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe
from compress.serving.served import open_served
from compress.tables import TASKS
from compress.tasks.task import task


@dataclass(frozen=True)
class Run:
    """What a task's run left behind."""

    task: str
    folder: Path
    result: compress.RunResult
    said: list[str]
    models: dict


@pytest.fixture(scope="module", params=[name for name, entry in TASKS.items() if ".py:" not in entry])
def run(request: pytest.FixtureRequest, task_recipe: Callable[[str], Path]) -> Run:
    from compress.pipeline import run

    recipe, said = task_recipe(request.param), []
    result = run(load_recipe(recipe), runs=recipe.parent / "runs", threads=1, say=said.append)
    measured = json.loads((result.folder / "10-benchmark" / "measurements.json").read_text())
    return Run(request.param, recipe.parent, result, said, measured["models"])


def test_every_file_learns_the_answers(run: Run) -> None:
    baseline = run.result.summary["majority_accuracy"]
    for name, model in run.models.items():
        assert model["accuracy"]["value"] > baseline + 0.3, name
        assert model["accuracy"]["low"] < model["accuracy"]["value"] < model["accuracy"]["high"] or model["accuracy"]["value"] == 1
        assert model["non_finite"]["value"] == 0
    assert run.result.summary["measure"] == task(run.task).measure


def test_int8_keeps_the_metric_of_fp32(run: Run) -> None:
    kept = run.models["int8_qat"]["accuracy"]
    assert kept["value"] >= 0.97 * run.models["fp32"]["accuracy"]["value"]  # two of 80 rows
    assert kept["against_fp32"]["verdict"] != "worse"
    assert all(hop["passed"] for hop in run.result.artifacts["export"].details["parity"])


def test_models_are_compared_in_pairs_and_by_part(run: Run) -> None:
    shipped = run.models[run.result.summary["shipped_model"]]
    assert shipped["accuracy"]["against_majority"]["verdict"] == "better"
    assert shipped["accuracy"]["against_teacher"]["samples"] == run.result.summary["samples"] == 80
    assert len(shipped["by_answer"]) >= 2
    assert {metric for metric, entry in shipped["metrics"].items() if entry["value"] is not None} == shipped["metrics"].keys()
    assert any("distilled student ships" in line or "student alone ships" in line for line in run.said)


def test_report_names_the_measure_and_the_other_metrics(run: Run) -> None:
    page = run.result.report.read_text()
    assert f"{task(run.task).measure.replace(chr(39), '&#39;')} shipped" in page
    for metric in run.models["fp32"]["metrics"]:
        if "_to_" in metric:  # a line for each direction
            assert metric.removeprefix("among_the_teacher_").partition("_recall")[0].partition("_mean")[0].replace("_", " ") in page
            continue
        assert metric.replace("_", " ") in page


def test_report_draws_answers_that_are_pictures(run: Run) -> None:
    page = run.result.report.read_text()
    assert ('alt="mask: ' in page) == (run.task == "segmentation")


def test_server_shows_labels_and_both_models_answer(run: Run) -> None:
    served = open_served(run.result.bundle.resolve(), run.result.folder)
    data = open_data(run.result.artifacts["data"].path)
    shown = {data.task.show(label, data.labels) for label in data.split("test").labels}
    assert {sample.label for sample in served.samples} <= shown
    student, teacher = served.answer_sample(0)
    assert (student["role"], teacher["role"]) == ("student", "teacher")
    assert student.keys() == teacher.keys()


def test_bundle_verifies_and_answers(run: Run) -> None:
    bundle = run.result.bundle.resolve()
    assert f"device/tasks/{run.task}.py" in verify_folder(bundle)["files"]
    command = [sys.executable, "-I", "run.py"]
    done = subprocess.run([*command, "verify"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given = {
        "token_labels": ["--question", "ann saw new york"],
        "retrieval": ["--numbers", "1.5 1.5 -1.5 0.9 0 0"],
        "segmentation": ["--image", str(run.folder / "test-0-picture.png"), "--out", str(run.folder / "answered.png")],
    }.get(run.task, ["--numbers", "1.5 1.5 -1.5 0 0 0"])
    ask = [*command, "predict", *given, "--json"]
    answer = json.loads(subprocess.run(ask, cwd=bundle, capture_output=True, text=True, check=True).stdout)
    if run.task == "single_label":
        assert answer["label"] == "up"
    if run.task == "multi_label":
        assert sorted(answer["tags"]) == ["hot", "wet"]
    if run.task == "regression":
        assert answer["value"] == pytest.approx(100 + 20 * 1.5 - 10 * 1.5, abs=10)
    if run.task == "embedding":
        assert sum(value**2 for value in answer["vector"]) == pytest.approx(1, abs=1e-5)
        (run.folder / "items.txt").write_text("-1 1 1 0 0 0\n2 -1 1 0 1 0\n")
        against = [*ask[:-1], "--against", str(run.folder / "items.txt"), "--top", "1"]
        told = subprocess.run(against, cwd=bundle, capture_output=True, text=True, check=True).stdout
        assert told.splitlines() == [f"{told.split()[0]}  2 -1 1 0 1 0"]
    if run.task == "retrieval":
        assert answer["tower"] == "numbers" and sum(value**2 for value in answer["vector"]) == pytest.approx(1, abs=1e-5)
        (run.folder / "items.txt").write_text("cold dry loud low s1 s2\nhot wet still high s3 s4\n")
        against = [*ask[:-1], "--against", str(run.folder / "items.txt"), "--top", "1"]
        told = subprocess.run(against, cwd=bundle, capture_output=True, text=True, check=True).stdout
        assert told.splitlines() == [f"{told.split()[0]}  hot wet still high s3 s4"]
    if run.task == "several":
        heads = answer["heads"]
        assert (heads["state"]["label"], sorted(heads["tags"]["tags"])) == ("up", ["hot", "wet"])
        assert heads["price"]["value"] == pytest.approx(100 + 20 * 1.5 - 10 * 1.5, abs=10)
        told = subprocess.run(ask[:-1], cwd=bundle, capture_output=True, text=True, check=True).stdout
        assert [line for line in told.splitlines() if line[0] != " "][0].startswith("state: up")
        assert json.loads((bundle / "manifest.json").read_text())["heads"] == ["state", "price", "tags"]
    if run.task == "token_labels":
        assert [(entry["word"], entry["label"]) for entry in answer["labels"]] == [
            ("ann", "B-PER"), ("saw", "O"), ("new", "B-LOC"), ("york", "I-LOC")
        ]  # fmt: skip
        told = subprocess.run(ask[:-1], cwd=bundle, capture_output=True, text=True, check=True).stdout
        assert told == "ann/B-PER saw/O new/B-LOC york/I-LOC\n"
    if run.task == "segmentation":
        truth, answered = (np.asarray(Image.open(run.folder / name)) for name in ("test-0-mask.png", "answered.png"))
        assert answered.shape == truth.shape == (40, 40) and (answered == truth)[truth < 255].mean() > 0.9
        assert answer["shares"][0]["label"] == "ground" and sum(entry["share"] for entry in answer["shares"]) == pytest.approx(1)
        told = subprocess.run([*ask[:-3], "--json"], cwd=bundle, capture_output=True, text=True, check=True).stdout
        assert json.loads(told)["file"] == str(run.folder / "test-0-picture.mask.png")
        assert (run.folder / "test-0-picture.mask.png").read_bytes() == (run.folder / "answered.png").read_bytes()
    if run.task == "verification":
        (run.folder / "items.txt").write_text("-1 1 1 0 0 0\n2 -1 1 0 1 0\n")
        told = subprocess.run(
            [*ask[:-1], "--against", str(run.folder / "items.txt")], cwd=bundle, capture_output=True, text=True, check=True
        )
        assert [line.split(maxsplit=2)[1:] for line in told.stdout.splitlines()] == [
            ["same", "2 -1 1 0 1 0"],
            ["different", "-1 1 1 0 0 0"],
        ]
        assert json.loads((bundle / "models.json").read_text())["facts"]["threshold"] == pytest.approx(answer["threshold"])


def test_student_of_places_teaches_the_next_one(run: Run) -> None:
    from compress.pipeline import run as run_recipe

    if not task(run.task).dense:
        pytest.skip("students of other tasks teach in tests/stages/test_earlier.py")
    earlier = "{source: run, path: runs/segmentation, inputs: {image: {size: 32}}}"
    asked = ["name=next", f"teacher={earlier}", "data.names=[ground, disc, square]"]
    result = run_recipe(
        load_recipe(run.folder / "recipe.yaml", asked), runs=run.folder / "runs", threads=1, last="targets", say=lambda _: None
    )
    assert result.artifacts["targets"].metrics["train_accuracy"]["value"] > 80  # percent
    with pytest.raises(RecipeError, match="answers for 8 x 8 places, not 4 x 4; set data.task_options.stride"):
        run_recipe(
            load_recipe(run.folder / "recipe.yaml", [*asked, "data.task_options.stride=8"]),
            runs=run.folder / "runs",
            threads=1,
            last="teacher",
            say=lambda _: None,
        )
