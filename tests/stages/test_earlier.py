"""A run's student teaches another student, and is gone on from when rows have come: from its folder, proven by hash."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from compress.data.prepared import open_data
from compress.errors import CompressError, DataError, RecipeError, StoreError
from compress.models.saved import load_model
from compress.pipeline import RunResult, plan, run
from compress.recipe.grammar import load_recipe
from compress.store.artifacts import Artifact
from compress.store.earlier import Earlier
from compress.training.rows import sample_feeds

RECIPE = """\
name: {name}
data:
  source: manifest
  options: {{train: {train}.csv, test: test.csv}}
  inputs: {{text: {{length: {length}}}}}
teacher: {teacher}
student: {{encoders: {{text: {{options: {{layers: 1, width: {width}, heads: 2, feedforward: 32}}}}}}{student}}}
distill: {{train: {{epochs: 6, batch_size: 16, learning_rate: 1.0e-2}}}}
"""
WORDS = {"glad": ("sun", "song", "gift"), "sad": ("rain", "loss", "bill"), "calm": ("lake", "tea", "book")}
TABLE = "{source: answers, path: answers.csv, form: answers, on_bad_answer: labels}"


def write_rows(folder: Path, split: str, moods: tuple[str, ...], count: int) -> None:
    draw = np.random.default_rng(len(split))
    with (folder / f"{split}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label"])
        for number in range(count):
            mood = moods[number % len(moods)]
            rows.writerow([f"{split}-{number}", f"the {draw.choice(WORDS[mood])} of {draw.choice(WORDS[mood])} day {number}", mood])


def write(folder: Path, name: str, **words: str) -> Path:
    given = {"train": "train", "length": "8", "teacher": TABLE, "width": "16", "student": "", **words}
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name, **given))
    return path


def distill(path: Path, *overrides: str) -> RunResult:
    return run(load_recipe(path, overrides), runs=path.parent / "runs", threads=1, say=lambda _: None, last="distill")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, and the run `first`, whose student tells two moods apart."""
    folder = tmp_path_factory.mktemp("earlier")
    write_rows(folder, "train", ("glad", "sad"), 120)
    write_rows(folder, "test", ("glad", "sad"), 20)
    write_rows(folder, "more", ("sad", "calm", "glad"), 150)
    rows = [("id", "answer"), *((f"train-{n}", ("glad", "sad")[n % 2]) for n in range(120))]
    rows += [(f"more-{n}", ("sad", "calm", "glad")[n % 3]) for n in range(150)]
    with (folder / "answers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    distill(write(folder, "first"))
    return folder


def test_student_of_a_run_teaches_with_its_own_answers(folder: Path) -> None:
    second = distill(write(folder, "second", teacher="{source: run, path: runs/first}", width="8", length="6"))
    teacher, data = second.artifacts["teacher"], open_data(second.artifacts["data"].path)
    first = (folder / "runs" / "first" / "6-distill").resolve()
    assert teacher.io_spec.inputs[0].shape == (8,)  # as the first student reads texts, not as the second
    feeds, _ = sample_feeds(data.split("test"), teacher.io_spec, teacher.path, 20, teacher=True)
    given = {m: torch.from_numpy(x) for m, x in feeds.items()}
    with torch.no_grad():
        expected, found = (load_model(path)(given).logits for path in (first, teacher.path))
    assert torch.equal(expected, found)
    assert second.artifacts["distill"].metrics["validation_accuracy"]["value"] > 80


def test_labels_of_a_run_are_matched_by_name_and_others_refused(folder: Path) -> None:
    distill(write(folder, "three", train="more"))
    fewer = distill(write(folder, "fewer", teacher="{source: run, path: runs/three}"))
    data = open_data(fewer.artifacts["data"].path)
    three = (folder / "runs" / "three" / "6-distill").resolve()
    weights = [load_file(path / "model.safetensors")["head.output.weight"] for path in (three, fewer.artifacts["teacher"].path)]
    known = json.loads((folder / "runs" / "three" / "1-data" / "labels.json").read_text())
    assert torch.equal(weights[1], weights[0][[known.index(label) for label in data.labels]]) and len(known) == 3
    with pytest.raises(DataError, match=r"teacher.path: 1 of the data's 3 labels are not there, such as \['calm'\]"):
        distill(write(folder, "unknown", train="more", teacher="{source: run, path: runs/first}"))


def test_another_student_is_another_teacher_and_a_damaged_one_is_refused(folder: Path) -> None:
    distill(write(folder, "source"))
    path = write(folder, "taught", teacher="{source: run, path: runs/source}")
    distill(path)
    distill(folder / "source.yaml", "seed=3")
    planned = {stage.name: stage for stage in plan(load_recipe(path), runs=folder / "runs", threads=1)}
    assert planned["data"].action == "reuse" and planned["teacher"].reason.startswith("run")
    weights = (folder / "runs" / "source" / "6-distill" / "model.safetensors").resolve()
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"teacher.path: .*model.safetensors: sha256"):
        plan(load_recipe(path), runs=folder / "runs", threads=1)
    weights.write_bytes(whole)


def test_folder_without_a_student_is_refused(folder: Path) -> None:
    (folder / "runs" / "empty").mkdir(exist_ok=True)
    with pytest.raises(
        RecipeError, match=r"teacher.path: .*empty holds no student; give the folder of a run that has come to its stage distill"
    ):
        plan(load_recipe(write(folder, "lost", teacher="{source: run, path: runs/empty}")), runs=folder / "runs", threads=1)


def test_student_goes_on_with_weights_tokens_and_known_labels(folder: Path) -> None:
    path = write(folder, "on", train="more", student=", initialise: {run: runs/first}")
    path.write_text(
        path.read_text().replace("epochs: 6", "epochs: 1, max_steps: 1, learning_rate: 1.0e-8").replace(", learning_rate: 1.0e-2", "")
    )
    went = distill(path).artifacts["distill"]
    first = (folder / "runs" / "first" / "6-distill").resolve()
    old, new = (load_file(place / "model.safetensors") for place in (first, went.path))
    assert (went.path / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    torch.testing.assert_close(new["encoders.text.words.weight"], old["encoders.text.words.weight"], atol=1e-6, rtol=0)
    labels = [json.loads((folder / "runs" / name / "1-data" / "labels.json").read_text()) for name in ("first", "on")]
    assert went.details["continued"]["new_labels"] == ["calm"]
    for label in labels[0]:
        rows = old["head.output.weight"][labels[0].index(label)], new["head.output.weight"][labels[1].index(label)]
        torch.testing.assert_close(rows[1], rows[0], atol=1e-6, rtol=0)


def test_another_shape_is_refused_before_training_with_the_word_that_differs(folder: Path) -> None:
    path = write(folder, "wider", width="32", student=", initialise: {run: runs/first}")
    with pytest.raises(RecipeError, match=r"in its own form alone; student.encoders.text.options.width: 16 -> 32"):
        distill(path)
    assert not (folder / "runs" / "wider" / "6-distill").exists()


def test_a_student_that_was_trained_whole_may_go_on_with_frozen_blocks() -> None:
    before = {"encoders": {"image": {"model": "mobilenet_v2", "initialise": "pretrained"}}}
    now = {"encoders": {"image": {"model": "mobilenet_v2", "initialise": "random", "freeze": 4}}}
    earlier = Earlier(Path(), Artifact(), Path(), [], {"data": {}, "student": before})
    assert earlier.first_difference({}, now) is None
    now["encoders"]["image"]["model"] = "mobilenet_v4"
    assert earlier.first_difference({}, now) == 'student.encoders.image.model: "mobilenet_v2" -> "mobilenet_v4"'


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (
            ", classifier: teacher, initialise: {run: runs/first}",
            "student.classifier: student.initialise goes on from a student whose last layer",
        ),
        (", initialise: {run: gone}", "student.initialise.run: .*gone is not there"),
        (", initialise: {run: runs/first, arm: best}", "student.initialise.arm: must be one of shipped, distilled; found the text 'best'"),
    ],
)
def test_words_that_contradict_an_earlier_student_are_faults(folder: Path, student: str, said: str) -> None:
    with pytest.raises(CompressError, match=said):
        load_recipe(write(folder, "wrong", student=student))
