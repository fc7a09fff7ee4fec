"""Metrics of several yes-or-no answers a row, by scikit-learn: answers and labels (R, K) of 0 and 1, scores (R, K); and the F1 of each row."""

from __future__ import annotations

import math

import numpy as np


def row_f1(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(R,) 2 TP / (2 TP + FP + FN) of each row's tags, 1 where there are none and none was given; 0 where an entry of either is negative.

    Its mean over rows is scikit-learn's f1_score with average="samples" and zero_division=1."""
    sound = (answers >= 0).all(1) & (labels >= 0).all(1)
    hits = ((answers > 0) & (labels > 0)).sum(1)
    total = (answers > 0).sum(1) + (labels > 0).sum(1)
    return np.where(sound, np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0), 0.0)


def tag_f1(answers: np.ndarray, labels: np.ndarray, *, average: str) -> float:
    """F1 over all entries (average "micro"), or the mean of each tag's over the tags that occur ("macro"); NaN without rows or tags."""
    from sklearn.metrics import f1_score  # a second, and only measuring needs it

    occurs = (labels > 0).any(0) | (answers > 0).any(0)
    if not occurs.any():
        return math.nan
    return float(f1_score(labels[:, occurs], answers[:, occurs], average=average, zero_division=0))


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the tags that occur of the average precision of their scores: no threshold has a part in it; NaN without any."""
    from sklearn.metrics import average_precision_score

    occurs = (labels > 0).any(0)
    return float(average_precision_score(labels[:, occurs], scores[:, occurs], average="macro")) if occurs.any() else math.nan
