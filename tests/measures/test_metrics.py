"""METRICS and the intervals: golden numbers with their derivation, and the rules that hold for each entry of the table."""

import math

import numpy as np
import pytest

from compress.measures.metrics import METRICS, agreement, wilson_interval

LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0]])  # answers 0 1 0 2
LABELS = np.array([0, 1, 1, 2])


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("accuracy", 3 / 4),
        ("balanced_accuracy", (1 + 1 / 2 + 1) / 3),  # class 0: 1 of 1; class 1: 1 of 2; class 2: 1 of 1
        ("macro_f1", (2 / 3 + 2 / 3 + 1) / 3),  # 0: TP 1 FP 1; 1: TP 1 FN 1; 2: TP 1
    ],
)
def test_metric_equals_the_count_by_hand(name, golden):
    assert METRICS[name].compute(LOGITS, LABELS) == pytest.approx(golden)


def test_cross_entropy_of_equal_logits_is_log_of_the_classes():
    assert METRICS["cross_entropy"].compute(np.full((5, 3), 1e4), np.array([0, 1, 2, 0, 1])) == pytest.approx(math.log(3))


@pytest.mark.parametrize("name", METRICS)
def test_metric_ignores_unlabelled_rows(name):
    with_unlabelled = METRICS[name].compute(np.vstack([LOGITS, [[0.0, 9.0, 0.0]]]), np.append(LABELS, -1))
    assert with_unlabelled == METRICS[name].compute(LOGITS, LABELS)


@pytest.mark.parametrize("name", METRICS)
def test_metric_does_not_depend_on_the_order_of_rows(name):
    order = [2, 0, 3, 1]
    assert METRICS[name].compute(LOGITS[order], LABELS[order]) == pytest.approx(METRICS[name].compute(LOGITS, LABELS))


@pytest.mark.parametrize("name", METRICS)
def test_metric_prefers_right_answers_as_its_direction_says(name):
    right, wrong = np.eye(3) * 5, np.roll(np.eye(3) * 5, 1, axis=1)
    gain = METRICS[name].compute(right, np.arange(3)) - METRICS[name].compute(wrong, np.arange(3))
    assert (gain > 0) == METRICS[name].higher_is_better


@pytest.mark.parametrize("name", METRICS)
def test_metric_without_labels_is_nan(name):
    assert math.isnan(METRICS[name].compute(LOGITS, np.full(4, -1)))


def test_agreement_counts_equal_answers():
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0])) == 0.5


def test_wilson_interval_golden():
    # p = 0.9, n = 100, z^2 = 3.8415: middle 0.919207, half 0.061855, over 1.038415
    assert wilson_interval(90, 100) == pytest.approx((0.825634, 0.944770), abs=1e-5)


def test_wilson_interval_has_a_width_at_the_ends():
    low, high = wilson_interval(50, 50)
    assert high == pytest.approx(1.0) and 0.92 < low < 0.94
    assert wilson_interval(0, 0) == (0.0, 1.0)
