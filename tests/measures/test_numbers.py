"""Metrics of numbers, counted by hand."""

import math

import numpy as np
import pytest

from compress.measures import numbers

LABELS = np.array([[1.0], [2.0], [3.0], [6.0]])
ANSWERS = np.array([[1.0], [3.0], [2.0], [8.0]])  # errors 0, 1, -1, 2


def test_errors_by_hand():
    assert numbers.mean_absolute_error(ANSWERS, LABELS) == 1.0
    assert numbers.root_mean_squared_error(ANSWERS, LABELS) == pytest.approx(math.sqrt(6 / 4))
    assert numbers.r2(ANSWERS, LABELS) == pytest.approx(1 - 6 / 14)  # mean 3: 4 + 1 + 0 + 9


def test_spearman_by_hand():
    # ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (1 + 1) / (4 * 15)
    assert numbers.spearman(ANSWERS, LABELS) == pytest.approx(0.8)
    assert math.isnan(numbers.spearman(np.ones((4, 1)), LABELS))


def test_several_numbers_are_averaged():
    both = np.hstack([LABELS, LABELS + 10]), np.hstack([ANSWERS, LABELS + 10])
    assert numbers.mean_absolute_error(both[1], both[0]) == 0.5
    assert numbers.spearman(both[1], both[0]) == pytest.approx(0.9)
