"""Accuracy on changed images is measured beside the clean one, and a student that was trained on such images keeps more of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe
from compress.stages.benchmark.robustness import attacked
from compress.training.batches import Batches
from compress.training.loop import predict
from compress.training.rows import open_rows

RECIPE = """\
name: NAME
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {image: {size: 16}}
teacher: {source: answers, path: answers.csv, form: answers, on_bad_answer: labels}
student: {encoders: {image: {options: {stem_stride: 1, width: 0.25, out: 32}}}}
distill: {ADVERSARIALtrain: {epochs: 10, batch_size: 20, learning_rate: 5.0e-3}}
export: {targets: [onnxruntime_x86], parity: {samples: 16}}
benchmark: {batches: [1], rounds: 10, warmup: 1, robustness: {epsilons: [4, 12], steps: 5}}
"""
EPSILON = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that a bright half tells apart as well as a faint pattern of 8 levels does."""
    folder, draw, answers = tmp_path_factory.mktemp("robust"), np.random.default_rng(0), [("id", "answer")]
    pattern = np.where(np.indices((16, 16)).sum(0) % 2, 8, -8)[..., None]
    for split, count in (("train", 160), ("test", 40)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "image", "label"])
            for number in range(count):
                side = number % 2
                pixels = 128 + draw.normal(0, 10, (16, 16, 3)) + (pattern if side else -pattern)
                pixels[:, 8 * side : 8 * side + 8] += 24
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{split}{number}.png")
                rows.writerow([f"{split}-{number}", f"{split}{number}.png", ("left", "right")[side]])
                answers.append((f"{split}-{number}", ("left", "right")[side]))
    with (folder / "answers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(answers)
    return folder


def make(folder: Path, name: str, last: str, adversarial: str = "") -> RunResult:
    (folder / f"{name}.yaml").write_text(RECIPE.replace("NAME", name).replace("ADVERSARIAL", adversarial))
    return run(load_recipe(folder / f"{name}.yaml"), runs=folder / "runs", threads=1, say=lambda _: None, last=last)


@pytest.fixture(scope="module")
def hardened(folder: Path) -> RunResult:
    return make(folder, "hardened", "benchmark", f"adversarial: {{epsilon: {EPSILON}, steps: 2}}, ")


def accuracy(made: RunResult, epsilon: int) -> float:
    """Of a student in torch on the test images, changed against it."""
    student, data = made.artifacts["distill"], open_data(made.artifacts["data"].path)
    rows = open_rows(data.split("test"), student.io_spec, student.path)
    changed = attacked(student, data, np.arange(len(rows.labels)), epsilon=epsilon, steps=5, seed=0)
    answers = predict(load_model(student.path), Batches(replace(rows, inputs={**rows.inputs, **changed}), 20, shuffle=False)).argmax(1)
    return float((answers == rows.labels).mean())


def test_a_student_that_was_trained_on_changed_images_withstands_them_better(folder: Path, hardened: RunResult) -> None:
    plain = make(folder, "plain", "distill")
    assert accuracy(plain, 0) > 0.9 and accuracy(hardened, 0) > 0.9
    assert accuracy(hardened, EPSILON) > accuracy(plain, EPSILON) + 0.1


def test_the_benchmark_measures_each_epsilon_beside_the_clean_images(hardened: RunResult) -> None:
    measured = json.loads((hardened.folder / "10-benchmark" / "measurements.json").read_text())
    lines = measured["robustness"]
    assert [line["epsilon"] for line in lines] == [0, 4, 12] and {line["steps"] for line in lines} == {5}
    clean, small, large = (line["accuracy"]["fp32"]["value"] for line in lines)
    assert clean == measured["models"]["fp32"]["accuracy"]["value"] >= small >= large
    assert large == pytest.approx(accuracy(hardened, 12), abs=0.03)


def test_words_on_images_are_refused_where_there_are_none(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "answers.csv"):
        (tmp_path / name).touch()
    text = RECIPE.replace("ADVERSARIAL", "adversarial: {steps: 2}, ").replace("image: {size: 16}", "text: {length: 8}")
    (tmp_path / "a.yaml").write_text(
        text.replace("NAME", "a").replace("image: {options: {stem_stride: 1, width: 0.25, out: 32}}", "text: {}")
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    assert sum("changes the pixels of images, and the data has text" in problem for problem in caught.value.problems) == 2
