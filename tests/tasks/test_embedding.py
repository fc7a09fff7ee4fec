"""Vectors that rank: what a gain is, what models are worth together, and the same on a device."""

from __future__ import annotations

import numpy as np
import pytest

from compress.device import tasks as on_device
from compress.tasks.task import task

TASK = task("embedding", options={"size": 2})
ANGLES = np.deg2rad([0, 10, 90, 100, 45])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2], np.int32)
NAMES = ["north", "east", "alone"]


def test_output_is_asked_to_be_of_length_1() -> None:
    port = TASK.port(NAMES)
    assert (port.shape, port.unit) == ((2,), True) and task("embedding").port(NAMES).shape == (384,)


def test_gain_is_whether_the_nearest_other_is_a_like() -> None:
    answers = TASK.answers(5 * VECTORS)
    assert answers == pytest.approx(VECTORS)
    assert TASK.gains(answers, LABELS).tolist() == [1, 1, 1, 1, 0]  # the last has no like
    assert TASK.score(VECTORS, LABELS) == pytest.approx(4 / 5)
    assert TASK.right(answers, LABELS).tolist() == [True] * 4 + [False]


def test_gain_against_vectors_is_their_cosine() -> None:
    turned = VECTORS[:, ::-1] * [1, -1]  # by 90 degrees
    assert TASK.gains(VECTORS, VECTORS) == pytest.approx(np.ones(5)) and TASK.gains(VECTORS, turned) == pytest.approx(np.zeros(5), abs=1e-6)


def test_score_looks_at_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.tasks.embedding.SCORED", 2)  # rows 0 and 2, which have no like then
    assert TASK.score(VECTORS, LABELS) == 0


def test_a_vector_that_is_not_finite_finds_nothing() -> None:
    broken = VECTORS.copy()
    broken[0, 1] = np.nan
    answers = TASK.answers(broken)
    assert np.isnan(answers[0]).all() and TASK.gains(answers, LABELS).tolist() == [0, 0, 1, 1, 0]
    assert TASK.show(answers[0], NAMES) == "not a number"


def test_the_same_vector_for_all_is_worth_chance() -> None:
    same = TASK.answers(TASK.guess(LABELS, np.zeros(5, np.int64), 1))
    assert same.shape == (1, 2)
    assert TASK.gains(np.repeat(same, 5, 0), LABELS) == pytest.approx([1 / 4] * 4 + [0])


def test_guess_of_equal_labels_is_the_same_vector() -> None:
    found = TASK.guess(LABELS, np.array([0, 0, 1, 1, 2]), 3)
    assert found.shape == (3, 2) and len(np.unique(found, axis=0)) == 3


def test_queries_are_also_asked_of_the_teachers_vectors() -> None:
    itself = TASK.together(VECTORS, VECTORS, LABELS)
    assert itself == {
        "among_the_teacher_recall_at_1": pytest.approx(4 / 5),
        "among_the_teacher_recall_at_10": pytest.approx(4 / 5),
        "among_the_teacher_mean_reciprocal_rank": pytest.approx(4 / 5),
    }
    mirrored = TASK.together(-VECTORS, VECTORS, LABELS)  # as good among themselves, and of no use in the teacher's space
    assert mirrored["among_the_teacher_recall_at_1"] == 0 and TASK.score(-VECTORS, LABELS) == TASK.score(VECTORS, LABELS)
    assert task("single_label").together(LABELS, LABELS, LABELS) == {}


def test_metrics_are_recall_and_rank() -> None:
    found = {name: metric.compute(VECTORS, LABELS) for name, metric in TASK.metrics.items()}
    assert found == {name: pytest.approx(4 / 5) for name in ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")}
    assert TASK.metric in found


def test_parts_are_the_labels_and_are_shown_by_name() -> None:
    parts = TASK.parts(VECTORS, LABELS, NAMES)
    assert {name: part.tolist() for name, part in parts.items()} == {"north": [1, 1], "east": [1, 1], "alone": [0]}
    assert TASK.show(LABELS[2], NAMES) == "east" and TASK.show(VECTORS[0], NAMES) == "(1.00, 0.00, ...)"


def test_device_gives_the_vector_and_ranks_by_cosine() -> None:
    module = on_device.answerer("embedding")
    answer = module.answer({"logits": VECTORS[:1]}, NAMES, facts={})
    assert answer == {"vector": [1.0, 0.0]} and module.lines(answer) == ["1 0"]
    ranked = module.rank(answer, 3 * VECTORS, ["a", "b", "c", "d", "e"], 2)
    assert [entry["item"] for entry in ranked] == ["a", "b"] and ranked[1]["cosine"] == pytest.approx(np.cos(np.deg2rad(10)))
    assert module.lines({**answer, "ranked": ranked}) == ["1.000  a", "0.985  b"]


def test_decision_is_who_is_nearest_and_stays_within_its_margin() -> None:
    margins, nearest = TASK.decisions(VECTORS)
    assert nearest.tolist() == [1, 0, 3, 2, 1]
    # row 0: cosines to 10 and 45 degrees; 4 sqrt 2 of a number's move may be lost
    assert margins[0] == pytest.approx((np.cos(np.deg2rad(10)) - np.cos(np.deg2rad(45))) / (4 * 2**0.5), rel=1e-5)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    margins, nearest = TASK.decisions(vectors)
    moved = vectors + np.float32(np.quantile(margins, 0.5)) * draw.choice([-1, 1], size=vectors.shape).astype(np.float32)
    sure = margins > np.quantile(margins, 0.5)
    assert (TASK.decisions(moved)[1] == nearest)[sure].all() and sure.sum() == 30
    assert TASK.decisions(vectors[:2])[1].size == 0
