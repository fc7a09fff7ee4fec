"""A language model teaches: a prompt of the recipe in, stored answers out, the cost told before, a killed run going on."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.data.forecast import forecast
from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.models.generative import Scorer, open_scorer
from compress.pipeline import RunResult, plan, run
from compress.recipe.grammar import load_recipe

sys.path.append(str(Path(__file__).parents[1] / "models"))
from test_generative import write_llm  # noqa: E402 - the tiny model is written there

RECIPE = """\
name: asked
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {text: {length: 8}}
teacher: {source: llm, path: llm, prompt: "PROMPT", labels: {gloomy: very sad}}
student: {encoders: {text: {options: {layers: 1, width: 16, heads: 2, feedforward: 32}}}}
distill: {DISTILL}
"""
PROMPT = "is {text} glad or sad : answer :"


def write(folder: Path, prompt: str = PROMPT, distill: str = "") -> Path:
    path = folder / "asked.yaml"
    path.write_text(RECIPE.replace("PROMPT", prompt).replace("DISTILL", distill))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    write_llm(folder / "llm")
    for split, count in (("train", 60), ("test", 12)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            for number in range(count):
                rows.writerow([("the sun it " * (1 + number % 6) + "or " * (number % 4 // 2)).strip(), ("glad", "gloomy")[number % 2]])
    return folder


def make(folder: Path, last: str) -> RunResult:
    return run(load_recipe(write(folder)), runs=folder / "runs", threads=1, say=lambda _: None, last=last)


def lines(folder: Path) -> list[str]:
    loaded = load_recipe(write(folder))
    told = forecast(loaded.recipe, plan(loaded, runs=folder / "runs", threads=1), folder / "runs")
    return [line for line in told if not line.startswith("distill")]


def test_answers_are_the_models_own_each_asked_once_and_the_cost_is_told_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(folder) == ["what the teacher's answers cost is told once the rows are counted: `compress run --until data`"]
    data = open_data(make(folder, "data").artifacts["data"].path)
    texts = {split: data.split(split).teacher_inputs["text"].to_pylist() for split in ("train", "validation", "test")}
    prompts = sum(len(set(some)) for some in texts.values())
    rows = len(data.split("train"))
    assert lines(folder) == [
        f"teacher: {prompts} different prompts, 2 labels: at most {2 * prompts} forward passes",
        f"targets: 1 views of {rows} rows, 2 numbers each: 0.0 MB of answers",
    ]
    asked: list[str] = []
    own = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, prompt, image=None: asked.append(prompt) or own(self, prompt, image))
    made = make(folder, "targets").artifacts
    assert len(asked) == prompts < rows and set(asked) == {PROMPT.replace("{text}", text) for some in texts.values() for text in some}
    scorer = open_scorer(folder / "llm", [{"gloomy": "very sad"}.get(label, label) for label in data.labels], sees=False)
    stored = np.load(made["targets"].file("logits.npy"))[0]
    for row in (0, rows - 1):
        text = texts["train"][data.split("train").rows["text"][row]]
        np.testing.assert_allclose(stored[row], own(scorer, PROMPT.replace("{text}", text)), atol=2e-3 * np.abs(stored[row]).max())
    assert lines(folder) == [] and made["teacher"].metrics["validation_accuracy"]["samples"] > 0


def test_the_likeliest_answers_alone_are_stored_where_the_recipe_says_so(folder: Path) -> None:
    loaded = load_recipe(write(folder), ["distill.store_top_k=1"])
    made = run(loaded, runs=folder / "runs", threads=1, say=lambda _: None, last="distill").artifacts
    assert made["targets"].details["top_k"]["kept"] == 1 and not (made["targets"].path / "logits.npy").exists()
    whole = softmax(np.load(make(folder, "targets").artifacts["targets"].file("logits.npy"))[0].astype(np.float32))
    assert made["targets"].details["top_k"]["lost"] == pytest.approx(1 - whole.max(1).mean(), abs=2e-3)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_a_killed_run_asks_only_what_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.stages.teacher.generative.SAVED", 1)
    asked: list[str] = []
    own = Scorer.score

    def score(self: Scorer, prompt: str, image: np.ndarray | None = None) -> np.ndarray:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(prompt)
        return own(self, prompt, image)

    def again(last: str) -> RunResult:
        loaded = load_recipe(write(folder), ["teacher.labels.glad=very very glad"])
        return run(loaded, runs=folder / "runs", threads=1, say=lambda _: None, last=last)

    monkeypatch.setattr(Scorer, "score", score)
    with pytest.raises(KeyboardInterrupt):
        again("teacher")
    asked += [""]
    prompts = again("teacher").artifacts["teacher"].details["prompts"]
    assert len(asked) - 1 == prompts > 4


@pytest.mark.parametrize(
    ("prompt", "distill", "said"),
    [
        ("is it glad", "", "teacher.prompt: has no {text}, so every row would be asked the same"),
        (PROMPT, "teacher: live", "distill.teacher: such a model is asked once for each row, as it stands; set it to stored"),
        (PROMPT, "losses: [{name: hint}]", "distill.losses.0..name: hint compares the teacher's embedding, and a teacher of source llm"),
    ],
)
def test_what_cannot_be_had_of_such_a_teacher_is_a_fault(folder: Path, prompt: str, distill: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(folder, prompt, distill))


def test_a_model_that_sees_wants_an_image_and_one_that_reads_wants_none(folder: Path) -> None:
    path = write(folder)
    path.write_text(path.read_text().replace("source: llm", "source: vlm"))
    with pytest.raises(RecipeError, match="teacher.source: vlm reads an image, with texts or without, and the data has text"):
        load_recipe(path)
