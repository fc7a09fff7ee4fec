"""Counts of overlap, against scikit-learn's Jaccard index."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from compress.measures.overlap import count_overlap, iou, mean_iou, mean_iou_interval

DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 4, size=(6, 5, 5))  # 3 classes, and 3 where a place is ignored
ANSWERS = np.where(DRAW.random((6, 5, 5)) < 0.6, LABELS % 3, DRAW.integers(0, 3, size=(6, 5, 5)))


def test_iou_is_the_jaccard_index_of_labelled_places() -> None:
    counts = count_overlap(ANSWERS, LABELS, 3)
    known = LABELS < 3
    assert iou(counts.sum(0)) == pytest.approx(jaccard_score(LABELS[known], ANSWERS[known], average=None))
    assert mean_iou(counts.sum(0)) == pytest.approx(jaccard_score(LABELS[known], ANSWERS[known], average="macro"))
    for row in range(6):
        inside = known[row]
        assert mean_iou(counts)[row] == pytest.approx(jaccard_score(LABELS[row][inside], ANSWERS[row][inside], average="macro"))


def test_classes_that_are_not_there_do_not_count() -> None:
    found = iou(count_overlap(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]), 4)[0])
    assert found[:2].tolist() == [0.5, 0.5] and np.isnan(found[2:]).all()
    assert mean_iou(count_overlap(np.zeros((1, 3)), np.full((1, 3), 4), 4)).tolist() == [1.0]  # nothing was asked


def test_an_answer_that_is_none_is_wrong() -> None:
    assert mean_iou(count_overlap(np.full((1, 4), -1), np.zeros((1, 4)), 3)).tolist() == [0.0]


def test_interval_holds_the_value_and_shrinks_with_rows() -> None:
    counts = count_overlap(ANSWERS, LABELS, 3)
    low, high = mean_iou_interval(counts)
    assert low < mean_iou(counts.sum(0)) < high
    narrow = mean_iou_interval(np.concatenate([counts] * 16))
    assert narrow[1] - narrow[0] < (high - low) / 2
