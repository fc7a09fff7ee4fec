"""A teacher that is a table of answers goes through the whole chain: texts, some rows without an answer, no teacher's file."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import compress
from compress.pipeline import plan, run
from compress.recipe.grammar import load_recipe
from compress.reporting.compare import compare_runs, comparison_markdown
from compress.reporting.runs import read_run
from compress.serving.served import open_served

RECIPE = """\
name: told
data:
  source: manifest
  options: {train: train.csv, test: test.csv, columns: {label: mood, id: key}}
  inputs: {text: {length: 8}}
  labelled_fraction: 0.5
teacher: {source: answers, path: answers.csv, form: probabilities, labels: {glad: p_glad, sad: p_sad}, on_bad_answer: labels}
student: {encoders: {text: {options: {layers: 1, width: 16, heads: 2, feedforward: 32}}}}
distill: {train: {epochs: 6, batch_size: 16, learning_rate: 1.0e-2}}
export: {targets: [onnxruntime_x86], parity: {samples: 32}}
benchmark: {batches: [1], rounds: 10, warmup: 1}
budget: {max_drop_points: 50, max_drop_high_points: 100}
"""
WORDS = {"glad": ("sun", "song", "holiday", "gift"), "sad": ("rain", "loss", "queue", "bill")}


@dataclass(frozen=True)
class Told:
    """What the run left."""

    recipe: Path
    result: compress.RunResult
    said: list[str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder, draw, said = tmp_path_factory.mktemp("told"), np.random.default_rng(0), []
    answers = [("id", "p_glad", "p_sad")]
    for split, count in (("train", 160), ("test", 40)):
        rows = [("key", "text", "mood")]
        for number in range(count):
            mood = ("glad", "sad")[number % 2]
            rows.append((f"{split}-{number}", f"the {draw.choice(WORDS[mood])} of day {number}", mood))
            if number % 4 < 3:  # the teacher answers three rows of four, and is right but for every 24th
                p = 0.9 if (mood == "glad") != (number % 24 == 0) else 0.1
                answers.append((f"{split}-{number}", f"{p:.2f}", f"{1 - p:.2f}"))
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    with (folder / "answers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(answers)
    (folder / "a.yaml").write_text(RECIPE)
    result = run(load_recipe(folder / "a.yaml"), runs=folder / "runs", threads=1, say=said.append)
    return Told(folder / "a.yaml", result, said)


def test_student_learns_from_answers_and_beats_the_baseline(told: Told) -> None:
    summary = told.result.summary
    assert summary["student_accuracy"] > summary["majority_accuracy"] + 0.3
    assert any("the table answers 1" in line and "no answer in the table" in line for line in told.said)


def test_teacher_is_scored_on_the_test_rows_that_it_answered(told: Told) -> None:
    measured = json.loads((told.result.folder / "10-benchmark" / "measurements.json").read_text())["models"]
    assert measured["teacher"]["accuracy"]["samples"] == 30  # 3 of 4 of 40
    assert measured["teacher"]["accuracy"]["correct"] == 28  # rows 0 and 24 are answered wrongly
    assert measured["fp32"]["accuracy"]["against_teacher"]["samples"] == 30
    assert measured["fp32"]["accuracy"]["samples"] == 40


def test_what_is_not_known_of_the_teacher_is_said_plainly(told: Told) -> None:
    summary, page = told.result.summary, told.result.report.read_text()
    assert (
        summary["teacher_size_bytes"] is summary["teacher_latency_ms"] is summary["shipped_latency_ratio"] is summary["size_ratio"] is None
    )
    assert "its size and latency are unknown" in page and "of unknown size" in page and "stored answers" in page
    assert "size and latency of the teacher are unknown" in told.said[-2]
    assert "export_teacher" not in told.result.artifacts and told.result.budget_misses == []
    assert "| teacher " in (told.result.report.parent / "report.md").read_text()


def test_bundle_answers_and_its_card_says_what_is_not_known(told: Told) -> None:
    bundle = told.result.bundle.resolve()
    ask = [sys.executable, "-I", "run.py", "predict", "--question", "the sun of day 7", "--json"]
    done = subprocess.run(ask, cwd=bundle, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] == "glad"
    card = (bundle / "model_card.md").read_text()
    assert "| teacher | 93.33% |" in card and "| 30 |" in card  # 28 of 30
    assert "over the shipped file's: not known" in card


def test_page_and_comparison_do_without_the_teachers_file(told: Told) -> None:
    served = open_served(told.result.bundle.resolve(), told.result.folder)
    assert [member.role for member in served.members] == ["student"] and served.answer_sample(0)[0]["role"] == "student"
    found = read_run(told.result.folder)
    compared = compare_runs([found, found])
    assert [row[0] for row in compared["paired"]] == ["shipped", "student"]  # the teacher did not answer every row
    assert "smaller than its teacher" in comparison_markdown(compared)


def test_second_run_does_no_work_and_another_table_another_teacher(told: Told) -> None:
    loaded = load_recipe(told.recipe)
    assert {stage.action for stage in plan(loaded, runs=told.recipe.parent / "runs", threads=1)} == {"reuse"}
    table = told.recipe.with_name("answers.csv")
    text = table.read_text()
    table.write_text(text.replace("0.90", "0.80").replace("0.10", "0.20"))
    planned = {stage.name: stage for stage in plan(loaded, runs=told.recipe.parent / "runs", threads=1)}
    table.write_text(text)
    assert planned["data"].action == "reuse" and planned["teacher"].reason == "files.answers.csv changed"
