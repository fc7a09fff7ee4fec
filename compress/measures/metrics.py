"""METRICS: numpy in, float out; and the intervals that stand beside a measured share or a ratio of latencies.

Rows whose label is negative are unlabelled and count nowhere. Add a metric: one function here, one line in METRICS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


class Metric(NamedTuple):
    """`compute(logits, labels)`: logits (R, K) float, labels (R,) int -> float in `unit`; `interval`, likewise, its 95 % interval (low, high);
    `of(labels)`: (R,) bool, the rows that it is of, where these are not all."""

    compute: Callable[[np.ndarray, np.ndarray], float]
    unit: str
    higher_is_better: bool
    interval: Callable[[np.ndarray, np.ndarray], tuple[float, float]] | None = None
    of: Callable[[np.ndarray], np.ndarray] | None = None


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of the labelled rows whose arg-max is the label; NaN without any.

    Shapes: logits (R, K), labels (R,)."""
    logits, labels = _labelled(logits, labels)
    return float(np.mean(logits.argmax(axis=1) == labels)) if len(labels) else math.nan


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their rows that is right; NaN without labelled rows.

    Shapes: logits (R, K), labels (R,)."""
    logits, labels = _labelled(logits, labels)
    right = logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == k].mean() for k in np.unique(labels)])) if len(labels) else math.nan


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that are a label or an answer of 2 TP / (2 TP + FP + FN); NaN without labelled rows.

    Shapes: logits (R, K), labels (R,)."""
    logits, labels = _labelled(logits, labels)
    if not len(labels):
        return math.nan
    answers = logits.argmax(axis=1)
    classes = np.union1d(labels, answers)
    hits = [np.sum((answers == k) & (labels == k)) for k in classes]
    totals = [np.sum(answers == k) + np.sum(labels == k) for k in classes]  # TP + FP + TP + FN
    return float(np.mean([2 * hit / total for hit, total in zip(hits, totals, strict=True)]))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(R, K) float64 logarithms of the probabilities that logits (R, K) stand for."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """-mean_R log softmax(logits)[label], in nats; NaN without labelled rows.

    Shapes: logits (R, K), labels (R,)."""
    logits, labels = _labelled(logits, labels)
    if not len(labels):
        return math.nan
    return float(-np.mean(log_softmax(logits)[np.arange(len(labels)), labels]))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "fraction", True),
    "balanced_accuracy": Metric(balanced_accuracy, "fraction", True),
    "macro_f1": Metric(macro_f1, "fraction", True),
    "cross_entropy": Metric(cross_entropy, "nats", False),
}


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the rows on which two models give the same answer; NaN without rows.

    Shapes: a, b (R,) int answers."""
    return float(np.mean(a == b)) if len(a) else math.nan


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % interval (low, high) of a share of which `correct` out of `n` were seen; (0, 1) without samples.

    Formula: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Unlike p -+ z sqrt(p(1-p)/n) it has a width at 100 %.
    Source: Wilson 1927."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = correct / n, Z_95**2
    middle = p + z2 / (2 * n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval (low, high) of the mean of values (n,): z times its standard error either way; of one value the value itself."""
    mean, half = float(np.mean(values)), Z_95 * standard_error(values)
    return mean - half, mean + half


def standard_error(values: np.ndarray) -> float:
    """Of the mean of values (n,): their standard deviation over sqrt(n); 0 of one value."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _labelled(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = labels >= 0
    return logits[known], labels[known]
