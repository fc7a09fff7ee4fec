"""Answers as arrays, whatever the task: (R, ...) integers that are not negative or numbers that are finite; a row without an answer has none."""

from __future__ import annotations

import numpy as np

FLOOR = 1e-6  # the least probability that a teacher's answer may have, so that its logarithm is finite: log p is at least -13.8
SUM = 0.02  # by how much K probabilities may miss a sum of 1: they may have been rounded to two digits


def known(labels: np.ndarray) -> np.ndarray:
    """(R,) bool: the rows that have an answer; labels (R, ...)."""
    labels = np.asarray(labels)
    there = np.isfinite(labels) if labels.dtype.kind == "f" else labels >= 0
    return np.asarray(there.all(axis=tuple(range(1, labels.ndim))))


def unlabelled(like: np.ndarray, rows: int) -> np.ndarray:
    """(rows, ...) answers of rows that have none, in the form of `like` (R, ...)."""
    return np.full((rows, *like.shape[1:]), np.nan if like.dtype.kind == "f" else -1, like.dtype)


def log_p(p: np.ndarray) -> np.ndarray:
    """log max(p, FLOOR), float32."""
    return np.log(np.clip(p, FLOOR, 1.0)).astype(np.float32)


def log_odds(p: np.ndarray) -> np.ndarray:
    """log p / (1 - p) of p kept between FLOOR and 1 - FLOOR, float32."""
    kept = np.clip(p.astype(np.float64), FLOOR, 1 - FLOOR)
    return (np.log(kept) - np.log1p(-kept)).astype(np.float32)
