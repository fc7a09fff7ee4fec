"""F1 and average precision of tags: counts by hand, and scikit-learn's own."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from compress.measures.tags import mean_average_precision, row_f1, tag_f1

LABELS = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
ANSWERS = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]])


def test_row_f1_by_hand():
    # 1 of 2 found: 2 / 3; none and none: 1; one too many: 2 / 3; one where there is none: 0
    assert row_f1(ANSWERS, LABELS).tolist() == pytest.approx([2 / 3, 1, 2 / 3, 0])
    assert row_f1(ANSWERS, LABELS).mean() == pytest.approx(f1_score(LABELS, ANSWERS, average="samples", zero_division=1))


def test_row_that_is_no_answer_or_has_no_label_gains_nothing():
    assert row_f1(np.array([[-1, -1], [0, 0]]), np.array([[0, 0], [-1, -1]])).tolist() == [0, 0]


def test_tag_f1_by_hand_leaves_out_tags_that_never_occur():
    # tag 1: TP 1 FP 1 -> 2/3; tag 2: TP 1, FN 1, FP 1 -> 1/2; tag 3 occurs nowhere
    assert tag_f1(ANSWERS, LABELS, average="macro") == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert tag_f1(ANSWERS, LABELS, average="micro") == pytest.approx(4 / 7)  # TP 2, FP 2, FN 1
    assert math.isnan(tag_f1(np.zeros((2, 3), int), np.zeros((2, 3), int), average="macro"))


def test_mean_average_precision_by_hand():
    # tag 1: wanted row ranks second: 1/2; tag 2: wanted rows rank first and second: 1; tag 3 is in no row
    scores = np.array([[0.5, 0.9, 0.1], [0.9, 0.2, 0.2], [0.1, 0.8, 0.3], [0.0, 0.1, 0.4]])
    assert mean_average_precision(scores, LABELS) == pytest.approx((1 / 2 + 1) / 2)
