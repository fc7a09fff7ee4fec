"""A dual encoder teaches a student of texts, few of which have a label: from a folder to the bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from clips import WORDS, write_clip

from compress.errors import DataError
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: prompted
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {text: {length: 6}}
  labelled_fraction: 0.2
teacher: {source: zero_shot, path: clip, templates: ["a {}", "the {}"], labels: {feline: cat}}
student: {encoders: {text: {vocab: own, options: {layers: 1, width: 16, heads: 2, feedforward: 32}}}}
distill: {train: {epochs: 6, batch_size: 16, learning_rate: 1.0e-2}}
export: {targets: [onnxruntime_x86], parity: {samples: 32}}
benchmark: {batches: [1], rounds: 10, warmup: 1}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompted")
    write_clip(folder / "clip")
    for split, count in (("train", 160), ("test", 40)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            for number in range(count):
                word, label = (("cat", "feline"), ("dog", "dog"))[number % 2]
                rows.writerow([f"{WORDS[number % 7 % 2]} {WORDS[4 + number % 3]} {word} {number}", label])
    (folder / "a.yaml").write_text(RECIPE)
    return folder / "a.yaml"


@pytest.fixture(scope="module")
def finished(recipe: Path) -> RunResult:
    return run(load_recipe(recipe), runs=recipe.parent / "runs", threads=1, say=lambda _: None)


def test_teacher_is_exported_and_measured_as_any_file(finished: RunResult) -> None:
    measured = json.loads((finished.folder / "10-benchmark" / "measurements.json").read_text())["models"]
    assert measured["teacher"]["accuracy"]["samples"] == 40  # how many it has right is chance: its weights are
    assert measured["teacher"]["size"]["value"] > 0 and measured["teacher"]["latency"]["1"]["median_ms"] > 0
    assert finished.artifacts["teacher"].details["prompts"] == [["a dog", "the dog"], ["a cat", "the cat"]]  # in the order of the labels
    assert all(hop["passed"] for hop in finished.artifacts["export_teacher"].details["parity"])


def test_student_has_words_of_its_own_and_follows(finished: RunResult) -> None:
    assert finished.summary["student_accuracy"] > 0.8 and finished.bundle.is_dir()
    assert finished.artifacts["distill"].details["inherited"] is None


def test_vocabulary_that_cannot_be_cut_is_told_before_any_work(recipe: Path) -> None:
    with pytest.raises(DataError, match="trims WordPiece vocabularies, this one is WordLevel; set vocab: own"):
        run(
            load_recipe(recipe, ["student.encoders.text.vocab=task"]),
            runs=recipe.parent / "others",
            threads=1,
            last="teacher",
            say=lambda _: None,
        )
