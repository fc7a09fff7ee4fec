"""A closer look at one of K labels: golden numbers by hand, and scikit-learn's where it has the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.measures.labels import areas, by_class, calibration, confusions, describe_labels, fit_temperature

NAMES = ["a", "b", "c", "d"]
LABELS = np.array([0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 1, 1, 2, 1])


def test_precision_recall_and_f1_by_hand() -> None:
    found = {c["name"]: c for c in by_class(ANSWERS, LABELS, NAMES)}
    assert list(found) == ["a", "b", "c"]  # d is neither a label nor an answer
    # a: 2 of 2 answered so are so, 2 of 3 that are so; F1 = 2 * 2 / (2 + 3). b: 1 of 3 and 1 of 2; F1 = 2 / 5. c: 0 of 1 and 0 of 1
    values = {name: [c[key]["value"] for key in ("precision", "recall", "f1")] for name, c in found.items()}
    assert values == {"a": [1, pytest.approx(2 / 3), 0.8], "b": [pytest.approx(1 / 3), 0.5, 0.4], "c": [0, 0, 0]}
    assert found["a"]["recall"]["low"] < 2 / 3 < found["a"]["recall"]["high"]


def test_class_that_is_never_answered_has_no_precision() -> None:
    (a, b) = by_class(np.array([0, 0]), np.array([0, 1]), ["a", "b"])
    assert b["precision"]["value"] is None and b["recall"]["value"] == 0 and a["precision"]["value"] == 0.5


def test_confusions_are_counted_and_the_most_frequent_come_first() -> None:
    assert confusions(np.array([1, 1, 2, 0, 1]), np.array([0, 0, 0, 0, 2])) == [[0, 1, 2], [0, 2, 1], [2, 1, 1]]
    assert confusions(np.array([1]), np.array([1])) == []


def test_top_counts_the_answers_before_the_label() -> None:
    logits = np.array([[4.0, 3, 2, 1]] * 4)  # the label stands at place 0, 1, 2, 3
    found = describe_labels(logits, np.array([0, 1, 2, 3]), NAMES)
    assert {k: share["value"] for k, share in found["top"].items()} == {"1": 0.25, "3": 0.75}


def test_calibration_error_by_hand() -> None:
    # two bins: probability 0.8 on 4 rows of which 2 are right, 0.55 on 4 rows that are all right; 0.5 * 0.3 + 0.5 * 0.45
    sure, unsure = np.log([0.8, 0.2]), np.log([0.55, 0.45])
    logits = np.array([sure] * 4 + [unsure] * 4)
    found = calibration(logits, np.array([0, 0, 1, 1, 0, 0, 0, 0]))
    assert found["ece"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.45)
    assert [(b["samples"], b["accuracy"]["value"]) for b in found["bins"]] == [(4, 1.0), (4, 0.5)]


def test_a_sure_model_that_is_right_has_no_calibration_error() -> None:
    found = calibration(np.array([[100.0, 0]] * 5), np.zeros(5, int))
    assert found["ece"] == pytest.approx(0) and found["bins"][0]["low"] == 0.9


def test_figures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion is scikit-learn's")
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(500, 4)), draw.integers(0, 4, 500)
    answers, found = logits.argmax(1), describe_labels(logits, labels, NAMES)
    precision, recall, f1, samples = metrics.precision_recall_fscore_support(labels, answers, labels=range(4))
    for k, c in enumerate(found["by_class"]):
        assert [c[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx([precision[k], recall[k], f1[k]])
        assert c["samples"] == samples[k]
    matrix = metrics.confusion_matrix(labels, answers)
    assert all(matrix[label, answer] == rows for label, answer, rows in found["confusions"]) and len(found["confusions"]) == 12
    assert found["macro"]["f1"] == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    assert found["top"]["3"]["value"] == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=3))

    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found["macro"]["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["macro"]["pr_auc"] == pytest.approx(metrics.average_precision_score(labels, probabilities, average="macro"))


def test_area_by_hand() -> None:
    found = areas(np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False]))  # 3 of 4 pairs are in order
    # Hanley and McNeil at A = 3/4, n = m = 2: Q1 = 0.6, Q2 = 9/14; variance (3/16 + 0.6 - 9/16 + 9/14 - 9/16) / 4 = 0.0763392...
    assert found["roc_auc"] == {"value": 0.75, "low": pytest.approx(0.75 - 1.96 * 0.0763393**0.5), "high": 1.0}
    assert found["pr_auc"] == {"value": pytest.approx((1 + 2 / 3) / 2)}
    assert areas(np.array([0.2, 0.3]), np.array([True, True])) == {
        "roc_auc": {"value": None, "low": None, "high": None},
        "pr_auc": {"value": None},
    }


@pytest.mark.parametrize(("positive", "apart"), [(40, 1.0), (15, 1.8)])
def test_interval_of_an_area_holds_the_truth_as_often_as_it_says(positive: int, apart: float) -> None:
    truth = 0.5 * math.erfc(-apart / 2)  # P(X > Y) of normals whose means are `apart`: Phi(apart / sqrt(2))
    draw, rows = np.random.default_rng(positive), np.arange(200) < positive
    ends = [areas(draw.normal(size=200) + apart * rows, rows)["roc_auc"] for _ in range(400)]
    assert 0.92 <= np.mean([end["low"] <= truth <= end["high"] for end in ends]) <= 0.98


def test_rows_without_label_or_with_broken_logits_count_nowhere() -> None:
    logits = np.array([[1.0, 0], [np.nan, 0], [0, 1]])
    found = describe_labels(logits, np.array([0, 1, -1]), NAMES[:2])
    assert [c["samples"] for c in found["by_class"]] == [1]


@pytest.mark.parametrize("labels", [np.zeros((3, 2), int), np.zeros(3), np.full(3, -1)])
def test_other_answers_than_one_of_k_labels_have_no_such_figures(labels: np.ndarray) -> None:
    assert describe_labels(np.zeros((3, 2)), labels, NAMES[:2]) == {}


@pytest.mark.parametrize("sharp", [0.5, 3.0])
def test_temperature_gives_probabilities_back_that_were_sharpened(sharp: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > draw.random((20_000, 1))).argmax(1)  # drawn from these very probabilities
    found = fit_temperature(sharp * logits, labels)
    assert found == pytest.approx(sharp, rel=0.03)
    told = describe_labels(sharp * logits, labels, NAMES, temperature=found)["calibration"]
    assert told["temperature"] == found and told["ece"] < 0.01 < told["ece_without"]


def test_temperature_needs_rows() -> None:
    assert fit_temperature(np.eye(2)[np.arange(199) % 2], np.arange(199) % 2) is None
    labels = np.where(np.arange(300) < 150, np.arange(300) % 2, -1)
    assert fit_temperature(np.eye(2)[np.arange(300) % 2], labels) is None  # half of them have no label
