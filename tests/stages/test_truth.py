"""A student without any label: the teacher alone teaches, and judges where nobody has labelled validation and test; every page says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from compress.data.prepared import open_data
from compress.errors import DataError, RecipeError
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: {name}
data:
  source: manifest
  options: {{train: train.csv, test: {test}.csv{more}}}
  inputs: {{text: {{length: 8}}}}
  allow_unlabelled: true{judge}
{teacher}
student: {{encoders: {{text: {{model: bag, vocab: own, options: {{width: 16}}}}}}}}
distill: {{{distill}train: {{epochs: 20, batch_size: 16, learning_rate: 2.0e-2}}}}
quantize: {{method: int8_ptq, calibration_batches: 2}}
export: {{targets: [onnxruntime_x86], parity: {{samples: 16}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""
WORDS = {"glad": ("sun", "song", "gift"), "sad": ("rain", "loss", "bill")}
TABLE = "{source: answers, path: answers.csv, form: probabilities}"
TEACHER = f"teacher: {TABLE}"
JUDGE = "\n  judge: teacher\n  names: [glad, sad]"


def write_rows(path: Path, count: int, *, labelled: bool, seed: int) -> list[tuple[str, float]]:
    """The rows' ids, each with the teacher's probability that it is glad: it errs on every tenth."""
    draw, answers = np.random.default_rng(seed), []
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", *(["label"] if labelled else [])])
        for number in range(count):
            mood = ("glad", "sad")[number % 2]
            rows.writerow([f"{path.stem}-{number}", f"the {draw.choice(WORDS[mood])} of day {number}", *([mood] if labelled else [])])
            answers.append((f"{path.stem}-{number}", 0.9 if (mood == "glad") != (number % 10 == 0) else 0.1))
    return answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    given = [("train", 160, False), ("blank", 60, False), ("test", 60, True), ("check", 60, True)]
    answers = [
        pair
        for place, (name, count, own) in enumerate(given)
        for pair in write_rows(folder / f"{name}.csv", count, labelled=own, seed=place)
    ]
    lines = ["id,glad,sad", *(f"{name},{p},{1 - p:.1f}" for name, p in answers)]
    (folder / "answers.csv").write_text("\n".join(lines))
    return folder


def make(
    folder: Path, name: str, last: str | None = None, *, test: str = "blank", more: str = "", judge: str = JUDGE, **words: str
) -> RunResult:
    told = {
        "name": name,
        "test": test,
        "more": more,
        "judge": judge,
        "teacher": words.get("teacher", TEACHER),
        "distill": words.get("distill", ""),
    }
    (folder / f"{name}.yaml").write_text(RECIPE.format(**told))
    return run(load_recipe(folder / f"{name}.yaml"), runs=folder / "runs", threads=1, say=lambda _: None, last=last)


@pytest.fixture(scope="module")
def unlabelled(folder: Path) -> RunResult:
    """The whole chain where no row of any split has a label."""
    return make(folder, "unlabelled")


def test_student_of_no_label_at_all_is_scored_by_the_teachers_answers(unlabelled: RunResult, folder: Path) -> None:
    given = open_data(unlabelled.artifacts["data"].path)
    assert all((np.asarray(given.split(name).labels) < 0).all() for name in ("train", "validation", "test"))
    assert unlabelled.summary["teacher_accuracy"] == 1 and unlabelled.summary["shipped_accuracy"] >= 0.8
    assert unlabelled.summary["measure"] == "agreement with the teacher"
    judged = open_data(unlabelled.artifacts["truth"].path)
    told = np.asarray(judged.split("test").labels)  # 0 is glad; every tenth row is answered wrongly, and these are even ones
    assert (told == [(number % 2 == 0) == (number % 10 == 0) for number in range(60)]).all()
    assert (np.asarray(judged.split("train").labels) < 0).all()
    measured = json.loads((unlabelled.folder / "10-benchmark" / "measurements.json").read_text())
    assert measured["samples"] == 60 and measured["task"]["measure"] == "agreement with the teacher"


def test_every_page_says_that_nobody_has_labelled_the_rows(unlabelled: RunResult) -> None:
    page = unlabelled.report.read_text()
    assert "Nobody has labelled validation and test" in page and "agreement with the teacher shipped" in page
    assert "agreement with the teacher" in (unlabelled.bundle / "model_card.md").read_text()


def test_labels_of_the_other_splits_judge_where_they_are(folder: Path) -> None:
    made = make(folder, "judged", "distill", test="test", more=", validation: check.csv", judge="").artifacts
    data = open_data(made["data"].path)
    assert data.labels == ["glad", "sad"] and "truth" not in made
    assert (
        made["teacher"].metrics["validation_accuracy"]["value"] == pytest.approx(90)
        and made["distill"].metrics["validation_accuracy"]["samples"] == 60
    )


def test_what_needs_a_label_is_refused_where_there_is_none(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"distill.compare_alone: no training row has a label"):
        make(folder, "alone", "distill", distill="compare_alone: true, ")
    with pytest.raises(RecipeError, match=r"distill.losses: no training row has a label"):
        make(folder, "labels", "distill", distill="losses: [{name: cross_entropy}], ")
    with pytest.raises(DataError, match="no column 'label'"):
        make(folder, "refused", "data", judge="")
    with pytest.raises(RecipeError, match="data.names: is for one of K labels, and multi_label learns"):
        make(folder, "tags", "data", judge=f"{JUDGE}\n  task: multi_label")
    with pytest.raises(RecipeError, match="data.judge: several teachers have no answer in common"):
        make(folder, "several", "data", teacher=f"teachers: [{TABLE}, {TABLE}]")
