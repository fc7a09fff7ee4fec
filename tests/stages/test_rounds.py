"""Rounds: the student of one teaches the next, validation decides when they end, and what is kept is what ships."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compress.stages.distill as stage
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe
from compress.stages.distill import rounds
from compress.training.batches import Batches
from compress.training.loop import predict

RECIPE = """\
name: rounds
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {text: {length: 8}}
teacher: {source: answers, path: answers.csv, form: answers, on_bad_answer: labels}
student: {encoders: {text: {options: {layers: 1, width: 16, heads: 2, feedforward: 32}}}}
distill: {rounds: 4, train: {epochs: 2, batch_size: 16, learning_rate: 1.0e-2}}
"""
WORDS = {"glad": ("sun", "song", "gift"), "sad": ("rain", "loss", "bill")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw, answers = tmp_path_factory.mktemp("rounds"), np.random.default_rng(0), [("id", "answer")]
    for split, count in (("train", 120), ("test", 12)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "text", "label"])
            for number in range(count):
                mood = ("glad", "sad")[number % 2]
                rows.writerow([f"{split}-{number}", f"the {draw.choice(WORDS[mood])} of day {number}", mood])
                answers.append((f"{split}-{number}", mood))
    with (folder / "answers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(answers)
    (folder / "a.yaml").write_text(RECIPE)
    return folder


def distil(folder: Path, said: list[str], *overrides: str) -> RunResult:
    return run(load_recipe(folder / "a.yaml", overrides), runs=folder / "runs", threads=1, say=said.append, last="distill")


def script(monkeypatch: pytest.MonkeyPatch, *right: int) -> None:
    """Makes the students of the rounds have so many validation rows right."""
    left = list(right)

    def gains(logits: np.ndarray, labels: np.ndarray, data: Any) -> np.ndarray:
        return np.arange(len(labels)) < left.pop(0)

    monkeypatch.setattr(stage, "gains_of", gains)


def test_rounds_end_where_validation_gains_nothing_and_the_one_before_ships(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 7, 7)
    taught: list[tuple[torch.nn.Module, np.ndarray]] = []
    own = rounds.second_teacher

    def watched(model: torch.nn.Module, rows: Any, *given: Any, **words: Any) -> Any:
        found = own(model, rows, *given, **words)
        whole = predict(model, Batches(rows, 16, shuffle=False))
        np.testing.assert_allclose(found.targets[0], whole, atol=0.02)
        assert found.answered is None  # a student answers every row
        taught.append((model, whole))
        return found

    monkeypatch.setattr(rounds, "second_teacher", watched)
    said: list[str] = []
    student = distil(folder, said).artifacts["distill"]
    lines = student.details["rounds"]
    assert [(line["round"], line.get("kept")) for line in lines] == [(1, None), (2, True), (3, False)]  # the fourth is not tried
    assert lines[1]["paired"]["a_only"] == 2 and lines[2]["paired"]["a_only"] == 0
    assert len(taught) == 2 and not np.allclose(taught[0][1], taught[1][1])
    kept, saved = taught[1][0].state_dict(), load_model(student.path).state_dict()
    assert all(torch.equal(kept[name], saved[name]) for name in saved)
    assert any("round 3" in line and "gains nothing, so it is the last" in line for line in said)
    assert student.details["rounds_in_words"].endswith("Round 2 is kept.")


def test_all_rounds_teach_together_where_the_recipe_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 3, 4, 5, 5)
    combined: list[int] = []
    own = rounds.together

    def watched(answers: list[np.ndarray], *given: Any) -> np.ndarray:
        combined.append(len(answers))
        return own(answers, *given)

    monkeypatch.setattr(rounds, "together", watched)
    student = distil(folder, [], "distill.round_teacher=ensemble").artifacts["distill"]
    assert combined == [2, 3] and len(student.details["rounds"]) == 4


def test_together_is_the_mean_of_probabilities() -> None:
    answers = [np.log(np.array([[[0.9, 0.1]]], np.float16)), np.log(np.array([[[0.5, 0.5]]], np.float16))]
    found = rounds.together(answers, np.empty((1, 1, 2), np.float16), True)
    np.testing.assert_allclose(np.exp(found[0, 0].astype(np.float32)), [0.7, 0.3], atol=2e-3)


def test_one_round_is_the_student_as_it_was(folder: Path) -> None:
    one = distil(folder, [], "distill.rounds=1").artifacts["distill"]
    assert "rounds" not in one.details and "distill.rounds" not in str(one.details)


def test_rounds_of_a_live_teacher_are_refused(folder: Path) -> None:
    recipe = folder / "live.yaml"
    recipe.write_text(RECIPE.replace("rounds: 4", "rounds: 4, teacher: live").replace("answers.csv", "answers.csv"))
    with pytest.raises(RecipeError, match="distill.rounds: a round learns from the stored answers of the one before"):
        load_recipe(recipe)
