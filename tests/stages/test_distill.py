"""The distill stage on a trained teacher: the student that it saves, its comparison without the teacher, and a fair schedule for both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.context import Context
from compress.data.prepared import open_data
from compress.data.tokens import vocabulary_size
from compress.dependencies import only
from compress.grammar import load_recipe
from compress.models.saved import load_model, tokenizer_of
from compress.pipeline import STAGES
from compress.stages import distill as stage
from compress.training.batches import Batches
from compress.training.loop import accuracy, predict
from compress.training.rows import in_other_words, open_rows


@pytest.fixture
def call(whole_run, tmp_path: Path) -> Callable[..., Any]:
    """Runs the stage of the finished run once more, with overrides of its recipe; gives its artifact and what it said."""
    made = whole_run.result.artifacts

    def run(*overrides: str, out: Path = tmp_path):
        recipe, said = load_recipe(whole_run.recipe, list(overrides)).recipe, []
        out.mkdir(exist_ok=True)
        ctx = Context(out, seed=recipe.seed, threads=1, say=said.append)
        part = only(recipe, STAGES["distill"].reads)
        return stage.distill(part, made["teacher"], made["targets"], open_data(made["data"].path), ctx=ctx), said

    return run


def test_saved_student_scores_what_was_said(whole_run) -> None:
    made = whole_run.result.artifacts
    student = made["distill"]
    rows = open_rows(open_data(made["data"].path).split("validation"), student.io_spec, tokenizer=tokenizer_of(student.path))
    for folder, history in ((student.path, "history"), (student.path / "alone", "history_alone")):
        scored = accuracy(predict(load_model(folder), Batches(rows, 64, shuffle=False)), rows.labels)
        assert scored == student.details[history]["best"]
    assert student.metrics["validation_accuracy"]["value"] == pytest.approx(100 * student.details["history"]["best"])


def test_student_alone_trains_as_many_steps_on_labelled_rows_alone(whole_run) -> None:
    details = whole_run.result.artifacts["distill"].details
    with_teacher, alone = details["history"], details["history_alone"]
    assert with_teacher["planned_steps"] == alone["planned_steps"] == 3 * 6  # 100 images, 16 a batch, 3 epochs
    assert [point["step"] for point in alone["curve"]] == [point["step"] for point in with_teacher["curve"]]


def test_student_alone_never_sees_the_teacher_or_an_unlabelled_row(call, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Batches] = {}
    real = stage.train

    def spy(model, batches, *, objective, label, **settings):
        seen[label] = batches
        names = [name for name, _, _ in objective.terms]
        assert names == (["cross_entropy", "kd"] if label == "student" else ["cross_entropy"])
        return real(model, batches, objective=objective, label=label, **settings)

    monkeypatch.setattr(stage, "train", spy)
    call("distill.train.epochs=1")
    assert seen["student"].data.targets is not None
    assert (seen["student"].data.labels[seen["student"].order] < 0).any()
    assert seen["alone"].data.targets is None
    assert (seen["alone"].data.labels[seen["alone"].order] >= 0).all()


def test_distilling_again_gives_the_same_files(call, whole_run, tmp_path: Path) -> None:
    call()
    published = whole_run.result.artifacts["distill"]
    names = ("model.safetensors", "alone/model.safetensors", "tokenizer.json", "model.json")
    assert all((tmp_path / name).read_bytes() == published.file(name).read_bytes() for name in names)


def test_comparison_is_made_only_where_it_is_asked_for(call, tmp_path: Path) -> None:
    artifact, said = call("distill.compare_alone=false", "distill.train.epochs=1")
    assert "comparison" not in artifact.details
    assert not (tmp_path / "alone").exists()
    assert len(said) == 1


def test_vocabulary_is_trimmed_and_what_it_saves_is_counted(whole_run) -> None:
    made = whole_run.result.artifacts
    report = made["distill"].details["vocabulary"]
    size = vocabulary_size(made["distill"].file("tokenizer.json"))
    assert report["tokens"] == size == int(made["distill"].io_spec.input("text").high) + 1
    assert report["teacher_tokens"] == vocabulary_size(made["teacher"].file("tokenizer.json")) > size
    assert report["saved_parameters"] == (report["teacher_tokens"] - size) * 32
    assert report["unknown_rate_validation"] < 0.05


def test_full_vocabulary_is_the_teachers(call, whole_run, tmp_path: Path) -> None:
    artifact, _ = call("student.text.vocab=full", "distill.train.max_steps=1", "distill.compare_alone=false")
    assert (tmp_path / "tokenizer.json").read_bytes() == whole_run.result.artifacts["teacher"].file("tokenizer.json").read_bytes()
    assert artifact.details["vocabulary"]["saved_parameters"] == 0


def test_text_layers_come_from_the_teacher_unless_random_is_asked_for(call, tmp_path: Path) -> None:
    steps = ("distill.train.max_steps=1", "distill.train.learning_rate=1.0e-9", "distill.compare_alone=false")
    inherited, _ = call(*steps)
    random, _ = call(*steps, "student.text.initialise=random", out=tmp_path / "random")
    assert inherited.details["inherited"]["channels"] == 32
    assert random.details["inherited"] is None
    norms = [load_model(folder).get_parameter("encoders.text.norm.weight").detach() for folder in (tmp_path, tmp_path / "random")]
    assert norms[0].std() > 0.01  # the teacher's scales
    np.testing.assert_allclose(norms[1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("distilled", "alone", "verdict"),
    [(0.9, 0.8, "helps"), (0.8, 0.9, "hurts"), (0.81, 0.80, "no difference"), (0.8, 0.8, "no difference")],
)
def test_comparison_says_helps_only_beyond_noise(distilled: float, alone: float, verdict: str) -> None:
    found = stage.compare(distilled, alone, 500)
    assert found["verdict"] == verdict
    # 196 * sqrt((0.9 * 0.1 + 0.8 * 0.2) / 500) = 4.38 points for the first two
    assert found["noise_points"] == pytest.approx(196 * ((distilled * (1 - distilled) + alone * (1 - alone)) / 500) ** 0.5)
    assert found["gain_points"] == pytest.approx(100 * (distilled - alone))


@pytest.mark.parametrize(
    ("distilled", "reworded", "verdict", "words"),
    [
        (0.81, (0.9, 0.4), "helps", "as well on questions in the data's own words; in other words 90.0 % with the teacher, 40.0 % alone"),
        (0.81, (0.5, 0.4), "no difference", "would do as well; in other words 50.0 % with the teacher, 40.0 % alone (+10.0 points on 24 q"),
        (0.60, (0.9, 0.4), "hurts", "train without it; in other words 90.0 % with the teacher"),
    ],
)
def test_comparison_counts_answers_to_other_words(distilled: float, reworded: tuple[float, float], verdict: str, words: str) -> None:
    found = stage.compare(distilled, 0.8, 500, {"distilled": reworded[0], "alone": reworded[1], "texts": 24})
    assert found["verdict"] == verdict
    assert words in found["sentence"]


def test_questions_in_other_words_are_scored_in_these_words(whole_run) -> None:
    made = whole_run.result.artifacts
    student, data = made["distill"], open_data(made["data"].path)
    tokenizer, split = tokenizer_of(student.path), data.split("validation")
    rows = open_rows(split, student.io_spec, tokenizer=tokenizer)
    models = load_model(student.path), load_model(student.path / "alone")
    texts = split.inputs["text"].to_pylist()
    chosen = [texts[number] for number in sorted(set(rows.rows["text"].tolist()))[:5]]

    def score(paraphrases: dict[str, str]) -> dict | None:
        return stage.score_reworded(*models, rows, dataclasses.replace(data, paraphrases=paraphrases), student.io_spec, tokenizer)

    assert score({}) is None
    assert score({"of no row": "x"}) is None
    same = score({text: text for text in chosen})
    keep = np.isin(rows.rows["text"], [texts.index(text) for text in chosen]) & (rows.labels >= 0)
    logits = [predict(model, Batches(rows, 64, shuffle=False)) for model in models]
    expected = [accuracy(x[keep], rows.labels[keep]) for x in logits]
    assert same == {"distilled": expected[0], "alone": expected[1], "texts": 5}
    blank, tokens = in_other_words(rows, split, dict.fromkeys(chosen, "?"), student.io_spec, tokenizer)[0], rows.inputs["text"]
    changed = (blank.inputs["text"] != tokens).any(1)
    assert {texts[i] for i in np.flatnonzero(changed)} == set(chosen)
