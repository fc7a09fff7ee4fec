"""How far answered places overlap with labelled ones, class by class: counts of a picture, intersection over union (IoU), its interval."""

from __future__ import annotations

import numpy as np


def count_overlap(answers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(R, 3, K) int64 of each row: places that both have of a class, that are answered, that are labelled; answers and labels (R, ...) in
    [0, K); places with another label are left out, other answers are wrong."""
    rows = len(labels)
    answers, labels = np.reshape(answers, (rows, -1)).astype(np.int64), np.reshape(labels, (rows, -1)).astype(np.int64)
    known = (labels >= 0) & (labels < classes)
    own = np.broadcast_to(np.arange(rows)[:, None], labels.shape)

    def count(chosen: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.bincount(own[which] * classes + chosen[which], minlength=rows * classes).reshape(rows, classes)

    told = known & (answers >= 0) & (answers < classes)
    return np.stack([count(labels, known & (answers == labels)), count(answers, told), count(labels, known)], 1)


def iou(counts: np.ndarray) -> np.ndarray:
    """(..., K) both / (answered + labelled - both) of counts (..., 3, K); NaN of a class that is neither."""
    both, answered, labelled = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    union = answered + labelled - both
    return np.asarray(np.where(union > 0, both / np.maximum(union, 1e-12), np.nan))


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """(...,) the mean of `iou` over the classes that are answered or labelled; 1 where none is."""
    found = iou(counts)
    there = np.isfinite(found)
    return np.asarray(np.where(there.any(-1), np.where(there, found, 0).sum(-1) / np.maximum(there.sum(-1), 1), 1.0))


def mean_iou_interval(counts: np.ndarray, *, draws: int = 1000) -> tuple[float, float]:
    """95 % interval (low, high) of the mean IoU over all places of counts (R, 3, K), by bootstrap over rows."""
    draw = np.random.default_rng(0)
    weights = draw.multinomial(len(counts), np.full(len(counts), 1 / max(1, len(counts))), size=draws)  # (draws, R)
    drawn = (weights @ counts.reshape(len(counts), -1)).reshape(draws, *counts.shape[1:])
    low, high = np.quantile(mean_iou(drawn), [0.025, 0.975])
    return float(low), float(high)
