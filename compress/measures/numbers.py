"""Metrics of answers that are numbers, by scikit-learn and SciPy: answers and labels (R, D) in the data's own unit; means over the D numbers."""

from __future__ import annotations

import math

import numpy as np


def mean_absolute_error(answers: np.ndarray, labels: np.ndarray) -> float:
    """mean |answer - label|, in the data's unit; NaN without rows."""
    from sklearn.metrics import mean_absolute_error  # a second, and only measuring needs it

    return float(mean_absolute_error(labels, answers)) if len(labels) else math.nan


def root_mean_squared_error(answers: np.ndarray, labels: np.ndarray) -> float:
    """Root of the mean squared error, in the data's unit; NaN without rows."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(labels, answers)) if len(labels) else math.nan


def r2(answers: np.ndarray, labels: np.ndarray) -> float:
    """1 - squared error / squared distance from the labels' mean; NaN with fewer than two rows."""
    from sklearn.metrics import r2_score

    return float(r2_score(labels, answers)) if len(labels) > 1 else math.nan


def spearman(answers: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation; NaN with fewer than two rows, or where all labels or all answers are equal."""
    from scipy.stats import spearmanr

    pairs = [(answers[:, d], labels[:, d]) for d in range(labels.shape[1])]
    if len(labels) < 2 or any(np.ptp(a) == 0 or np.ptp(b) == 0 for a, b in pairs):
        return math.nan
    return float(np.mean([spearmanr(a, b).statistic for a, b in pairs]))
