"""Same or not: the threshold that validation chooses, what a gain is with it, and the same on a device."""

from __future__ import annotations

import numpy as np
import pytest

from compress.device import tasks as on_device
from compress.errors import DataError
from compress.tasks.task import task

TASK = task("verification", options={"size": 2})
ANGLES = np.deg2rad([0, 20, 90, 100])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1).astype(np.float32)
LABELS, NAMES = np.array([0, 0, 1, 1], np.int32), ["ann", "bob"]
BETWEEN = np.cos(np.deg2rad([20, 70])).mean()


def test_threshold_is_fitted_where_both_errors_are_as_frequent() -> None:
    assert TASK.fit(VECTORS, LABELS) == {"threshold": pytest.approx(BETWEEN)}
    assert TASK.fit(VECTORS, np.zeros(4, int)) == {}


def test_an_answer_carries_the_threshold_of_its_model() -> None:
    strict = TASK.with_facts({"threshold": np.cos(np.deg2rad(15))})
    answers = strict.answers(5 * VECTORS)
    assert answers == pytest.approx(np.concatenate([VECTORS, np.full((4, 1), np.cos(np.deg2rad(15)))], 1))
    assert TASK.gains(answers, LABELS).tolist() == [0.5, 0.5, 1, 1]  # 20 degrees are refused, whoever asks
    assert TASK.gains(answers, TASK.answers(VECTORS)) == pytest.approx(np.ones(4))  # of vectors the cosine, without thresholds


def test_score_without_a_threshold_takes_the_best_of_these_rows() -> None:
    assert TASK.score(VECTORS, LABELS) == 1 and TASK.with_facts({"threshold": 0.98}).score(VECTORS, LABELS) == 0.75


def test_metrics_have_the_rate_with_its_interval() -> None:
    metrics = TASK.metrics
    assert TASK.metric in metrics and metrics["equal_error_rate"].compute(VECTORS, LABELS) == 0
    assert metrics["equal_error_rate"].interval and metrics["equal_error_rate"].interval(VECTORS, LABELS) == (0, 0)


def test_the_teachers_stored_vectors_are_held_against() -> None:
    answers, turned = TASK.answers(VECTORS), TASK.answers(-VECTORS)
    assert TASK.together(answers, answers, LABELS) == {"among_the_teacher_equal_error_rate": 0}
    assert TASK.together(turned, answers, LABELS)["among_the_teacher_equal_error_rate"] > 0.9


def test_a_label_may_leave_train_whole() -> None:
    assert TASK.strata(np.array([0, -1, 3])).tolist() == [0, -1, 0]


def test_the_same_vector_for_all_tells_half() -> None:
    same = TASK.answers(TASK.guess(LABELS, np.zeros(4, np.int64), 1))
    assert TASK.gains(np.repeat(same, 4, 0), LABELS).tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ([0, 0, 0], "validation has rows of one label alone, 'ann', so no different pair, and a threshold needs both kinds; raise"),
        ([0, 1], "validation has one row of each label, so no same pair"),
    ],
)
def test_pairs_of_one_kind_are_refused(validation: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.check(NAMES, {"train": LABELS, "validation": np.array(validation)})
    TASK.check(NAMES, {"train": LABELS, "validation": np.array([0, 1, 1])})


def test_device_says_same_or_different() -> None:
    module = on_device.answerer("verification")
    answer = module.answer({"logits": VECTORS[:1]}, NAMES, facts={"threshold": 0.5})
    ranked = module.rank(answer, VECTORS[1:3], ["a.wav", "b.wav"], 5)
    assert [(entry["item"], entry["same"]) for entry in ranked] == [("a.wav", True), ("b.wav", False)]
    assert module.lines({**answer, "ranked": ranked}) == ["0.940  same  a.wav", "0.000  different  b.wav"]
    assert module.lines(answer) == ["1 0"] and answer["threshold"] == 0.5


def test_decisions_are_of_pairs_and_stay_within_their_margin() -> None:
    told = TASK.with_facts({"threshold": 0.5})
    margins, same = told.decisions(VECTORS)
    assert same.tolist().count(True) == 4 and len(same) == 12  # each pair from both sides
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    margins, same = told.decisions(vectors)
    moved = vectors + np.float32(np.quantile(margins, 0.5)) * draw.choice([-1, 1], size=vectors.shape).astype(np.float32)
    assert (told.decisions(moved)[1] == same)[margins > np.quantile(margins, 0.5)].all()
    assert told.decisions(vectors[:1])[1].size == 0
