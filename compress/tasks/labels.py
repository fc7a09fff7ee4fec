"""Answers as arrays, whatever the task: (R, ...) integers that are not negative or numbers that are finite; a row without an answer has none."""

from __future__ import annotations

import numpy as np


def known(labels: np.ndarray) -> np.ndarray:
    """(R,) bool: the rows that have an answer; labels (R, ...)."""
    labels = np.asarray(labels)
    there = np.isfinite(labels) if labels.dtype.kind == "f" else labels >= 0
    return np.asarray(there.all(axis=tuple(range(1, labels.ndim))))


def unlabelled(like: np.ndarray, rows: int) -> np.ndarray:
    """(rows, ...) answers of rows that have none, in the form of `like` (R, ...)."""
    return np.full((rows, *like.shape[1:]), np.nan if like.dtype.kind == "f" else -1, like.dtype)
