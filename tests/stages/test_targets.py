"""The targets stage: the teacher's stored answers are those of the teacher itself, view by view, and a killed run goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.context import Context
from compress.data.forecast import answered_rows
from compress.data.prepared import PreparedData, open_data
from compress.errors import CompressError
from compress.modalities.further import read_further
from compress.modalities.tokens import tokenize
from compress.models.saved import load_model, tokenizer_of
from compress.pipeline import STAGES
from compress.recipe.grammar import load_recipe
from compress.stages import targets as stage
from compress.store.arrays import note_progress
from compress.store.ingredients import only
from compress.training.rows import open_all_views, open_features, open_rows, sample_feeds, training_rows
from compress.training.views import Views


@pytest.fixture
def call(whole_run, tmp_path: Path) -> Callable[..., Any]:
    made = whole_run.result.artifacts

    def run(*overrides: str, out: Path = tmp_path, features: bool = True, data: PreparedData | None = None):
        recipe, said = only(load_recipe(whole_run.recipe, list(overrides)).recipe, STAGES["targets"].reads), []
        prepared = data or open_data(made["data"].path)
        artifact = stage.store_targets(
            recipe, made["teacher"], made["features"] if features else None, prepared, ctx=Context(out, say=said.append)
        )
        return artifact, said, np.load(out / "logits.npy")

    return run


def test_stored_logits_are_those_of_the_whole_teacher(whole_run) -> None:
    """Slow reference: the teacher as it is saved, on pixels and tokens, row by row, in both views."""
    made = whole_run.result.artifacts
    teacher, train = made["teacher"], open_data(made["data"].path).split("train")
    feeds, index = sample_feeds(train, teacher.io_spec, teacher.path, 12, teacher=True)
    stored = np.load(made["targets"].file("logits.npy"), mmap_mode="r")
    assert stored.dtype == np.float16
    wordings = read_further(made["targets"].path)
    reworded = made["targets"].details["reworded_rows"]
    assert stored.shape[:2] == (2, len(train) + reworded)
    assert reworded == round(0.5 * len(train)) == len(wordings.rows["text"])
    model, views = load_model(teacher.path), Views.from_json(made["targets"].details["views"])
    for view in range(2):
        image = views.vary(torch.from_numpy(feeds["image"]), view, np.asarray(train.rows["image"])[index])
        with torch.no_grad():
            expected = model({"image": image, "text": torch.from_numpy(feeds["text"])}).logits.numpy()
        np.testing.assert_allclose(stored[view][index], expected, atol=0.02 * np.abs(expected).max())
    some = np.arange(0, reworded, 40)  # and rows in other words, each with its own image
    words = [wordings.inputs[int(i) - len(train.inputs["text"])].as_py() for i in wordings.rows["text"][some]]
    text = torch.from_numpy(tokenize(tokenizer_of(teacher.path), words, 16))
    image = torch.from_numpy(np.asarray(train.teacher_inputs["image"])[wordings.rows["image"][some]])
    with torch.no_grad():
        expected = model({"image": image, "text": text}).logits.numpy()
    np.testing.assert_allclose(stored[0, len(train) + some], expected, atol=0.02 * np.abs(expected).max())
    assert not np.array_equal(stored[0], stored[1])


def test_the_teacher_answers_pairs_that_no_row_has(call, whole_run, tmp_path: Path) -> None:
    artifact, said, logits = call("distill.augment={views: 1, pairings: 2}")
    made = whole_run.result.artifacts
    teacher, train, found = made["teacher"], open_data(made["data"].path).split("train"), read_further(tmp_path)
    count = 2 * len(train.teacher_inputs["image"])
    assert artifact.details["paired_rows"] == len(found) == count
    assert "reworded_rows" not in artifact.details
    assert logits.shape[1] == len(train) + count
    assert f"{count:,} in other pairs" in said[0]
    some = np.arange(0, count, 40)
    image = torch.from_numpy(np.asarray(train.teacher_inputs["image"])[found.rows["image"][some]])
    texts = [train.inputs["text"][int(i)].as_py() for i in found.rows["text"][some]]
    with torch.no_grad():
        expected = load_model(teacher.path)({"image": image, "text": torch.from_numpy(tokenize(tokenizer_of(teacher.path), texts, 16))})
    expected = expected.logits.numpy()
    np.testing.assert_allclose(logits[0, len(train) + some], expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("change", ["distill.augment.pairings=1", "distill.augment.text={wordings: 4, reworded: 0.25}"])
def test_a_plan_counts_the_rows_that_are_answered(call, whole_run, change: str) -> None:
    _, _, logits = call("distill.augment.views=1", change)
    recipe = load_recipe(whole_run.recipe, [change]).recipe
    assert answered_rows(recipe, open_data(whole_run.result.artifacts["data"].path)) == logits.shape[1]


def test_embedding_is_stored_beside_the_logits_where_a_loss_compares_it(call, whole_run, tmp_path: Path) -> None:
    artifact, said, logits = call("distill.losses=[{name: kd}, {name: hint}]")
    stored = np.load(tmp_path / "embedding.npy", mmap_mode="r")
    assert artifact.details["hidden"] == ["embedding"]
    assert stored.dtype == np.float16 and stored.shape[:2] == logits.shape[:2]
    made = whole_run.result.artifacts
    teacher, train = made["teacher"], open_data(made["data"].path).split("train")
    feeds, index = sample_feeds(train, teacher.io_spec, teacher.path, 12, teacher=True)
    with torch.no_grad():
        expected = load_model(teacher.path)({m: torch.from_numpy(x) for m, x in feeds.items()}).embedding.numpy()
    np.testing.assert_allclose(stored[0][index], expected, atol=0.02 * np.abs(expected).max())
    assert any(f"embedding of {stored.shape[2]} numbers" in line for line in said)
    assert made["targets"].details["hidden"] == [] and "embedding.npy" not in made["targets"].files


def test_tapped_layer_of_the_head_is_stored_too(call, whole_run, tmp_path: Path) -> None:
    tap = "distill.taps={mid: {student: head.mix.0, teacher: head.mix.0}}"
    artifact, said, _ = call("distill.losses=[{name: hint, options: {tap: mid}}, {name: hint}]", tap)
    assert artifact.details["hidden"] == ["embedding", "mid"]
    mid, end = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("mid", "embedding"))
    np.testing.assert_array_equal(np.maximum(mid, 0), end)  # the embedding is the ReLU behind that layer
    assert not any("once more" in line for line in said)  # the encoders' features are there


def test_teacher_without_stored_features_gives_the_same_answers(call, whole_run, tmp_path: Path) -> None:
    train = open_data(whole_run.result.artifacts["data"].path).split("train")
    few = dataclasses.replace(  # the rows of four images: the encoders run here
        train, rows={m: which[:40] for m, which in train.rows.items()}, labels=train.labels[:40], kinds=train.kinds[:40]
    )
    data = SplitOf(few, open_data(whole_run.result.artifacts["data"].path))
    _, _, slow = call(features=False, data=data)
    stored = np.load(whole_run.result.artifacts["targets"].file("logits.npy"))[:, :40]
    np.testing.assert_allclose(slow[:, :40].astype(np.float32), stored.astype(np.float32), atol=0.02 * np.abs(stored).max())


class SplitOf(PreparedData):
    """Prepared data whose training split is replaced."""

    def __init__(self, train, data: PreparedData) -> None:
        super().__init__(data.path, data.labels, data.kinds, data.report)
        object.__setattr__(self, "train", train)

    def split(self, name: str):
        return self.train if name == "train" else super().split(name)


def test_killed_stage_goes_on_behind_the_last_finished_view(call, tmp_path: Path) -> None:
    whole, _, expected = call()
    half = np.load(tmp_path / "logits.npy", mmap_mode="r+")
    half[0, 0], half[1] = 7, 0  # view 0 is taken as it is, view 1 is made again
    half.flush()
    note_progress(tmp_path / "checkpoint" / "views", 1)
    again, _, got = call()
    assert again.details == whole.details
    assert (got[0, 0] == 7).all()
    np.testing.assert_array_equal(got[1], expected[1])


def test_metrics_count_labelled_rows_alone(whole_run) -> None:
    artifact = whole_run.result.artifacts["targets"]
    labels = open_data(whole_run.result.artifacts["data"].path).split("train").labels
    logits = np.load(artifact.file("logits.npy"), mmap_mode="r")[0, : len(labels)]
    known = labels >= 0
    assert 0 < known.sum() < len(labels)  # the recipe hides half of them
    metric = artifact.metrics["train_accuracy"]
    assert metric["samples"] == known.sum()
    assert metric["value"] == pytest.approx(100 * (logits[known].argmax(1) == labels[known]).mean())


def test_data_without_labels_have_no_accuracy(call, whole_run) -> None:
    data = open_data(whole_run.result.artifacts["data"].path)
    train = data.split("train")
    artifact, said, _ = call(data=SplitOf(dataclasses.replace(train, labels=np.full_like(train.labels, -1)), data))
    assert artifact.metrics == {}
    assert said[-1].endswith("no row has a label")


def test_logit_that_float16_cannot_hold_ends_the_run(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(folder: Path) -> torch.nn.Module:
        model: Any = load_model(folder)
        model.head.output.weight.data *= 1e8
        return model

    monkeypatch.setattr(stage, "load_model", loud)
    with pytest.raises(CompressError, match="targets: the teacher gave a logit that float16 cannot hold"):
        call()


def test_training_rows_take_the_views_that_the_targets_were_made_of(whole_run) -> None:
    made = whole_run.result.artifacts
    student, train = made["distill"], open_data(made["data"].path).split("train")
    rows = training_rows(train, student.io_spec, made["targets"], student.path)
    assert rows.views == Views.from_json(made["targets"].details["views"]) and len(rows.views) == 2
    assert rows.targets is not None
    reworded = made["targets"].details["reworded_rows"]
    assert rows.targets.shape == (2, len(train) + reworded, len(open_data(made["data"].path).labels))
    plain = open_rows(train, student.io_spec, student.path)
    assert plain.targets is None
    texts = len(plain.inputs["text"])
    np.testing.assert_array_equal(plain.inputs["text"], rows.inputs["text"][:texts])
    for name, which in plain.rows.items():
        np.testing.assert_array_equal(which, rows.rows[name][: len(train)])
    assert (rows.labels[len(train) :] == -1).all()  # the teacher alone answers what is asked in other words
    assert (rows.rows["text"][len(train) :] >= texts).all()
    assert rows.rows["text"].max() < len(rows.inputs["text"])


def test_all_views_of_the_features_are_more_rows(whole_run) -> None:
    made = whole_run.result.artifacts
    train = open_data(made["data"].path).split("train")
    views = [open_features(made["features"], train, view=view) for view in (0, 1)]
    every = open_all_views(made["features"], train)
    assert len(every.labels) == 2 * len(train)
    for m, which in every.rows.items():
        expected = np.concatenate([rows.inputs[m][np.asarray(rows.rows[m])] for rows in views])
        np.testing.assert_array_equal(every.inputs[m][which], expected)
    np.testing.assert_array_equal(every.labels, np.tile(train.labels, 2))
    assert not np.array_equal(views[0].inputs["image"], views[1].inputs["image"])
