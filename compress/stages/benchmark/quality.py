"""Accuracy of a file on the test rows: as a whole, by answer, by kind of row, and of baselines that need no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.baseline import lookup_accuracy
from compress.errors import CompressError, DataError
from compress.measures.metrics import METRICS, wilson_interval
from compress.stages.benchmark.candidate import Candidate, gather_feeds, open_candidate

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData, Split

SCORE_BATCH = 64  # rows a call when accuracy is counted


def select_rows(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Indices of the labelled rows, evenly thinned to at most `limit`: the same rows for the same data."""
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise DataError("benchmark: the test split has no labelled rows; label some of them")
    count = min(limit or len(rows), len(rows))
    return rows[np.arange(count) * len(rows) // count]


def score(model: Candidate, test: Split, rows: np.ndarray, *, threads: int) -> np.ndarray:
    """(R, K) logits of the rows, in their order; rows with the same distinct inputs are computed once."""
    session = open_candidate(model, threads)
    keys = np.stack([np.asarray(test.rows[name])[rows] for name in sorted(test.rows)], axis=1)  # (R, modalities)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    parts = []
    for start in range(0, len(first), SCORE_BATCH):
        feeds = gather_feeds(model, test, rows[first[start : start + SCORE_BATCH]], names=session.inputs)
        parts.append(session.run(feeds)["logits"])
    return np.concatenate(parts)[inverse.reshape(-1)]


def answer(logits: np.ndarray, classes: int, *, name: str) -> np.ndarray:
    """(R,) int16 arg-max; -1, which no label equals, where a logit is not finite."""
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise CompressError(f"{name}: gives logits of shape {logits.shape[1:]}, but the data has {classes} answers; export it again")
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1).astype(np.int16)


def describe_quality(logits: np.ndarray, answers: np.ndarray, test: Split, *, rows: np.ndarray, data: PreparedData) -> dict[str, Any]:
    """Accuracy with its interval, all METRICS (over the finite rows), and accuracy by answer and by kind.

    Shapes: logits (R, K) float32, answers (R,) int, rows (R,) indices into the test split."""
    labels, kinds = np.asarray(test.labels)[rows], np.asarray(test.kinds)[rows]
    right = answers == labels
    finite = answers >= 0
    values = {name: metric.compute(logits[finite], labels[finite]) for name, metric in METRICS.items() if name != "accuracy"}
    return {
        "accuracy": share(right),
        "metrics": {name: number(value, METRICS[name].unit, int(finite.sum())) for name, value in values.items()},
        "non_finite": {"value": int(np.sum(~finite)), "unit": "samples", "samples": len(rows)},
        "by_answer": [{"name": name, **share(right[labels == k])} for k, name in enumerate(data.labels) if np.any(labels == k)],
        "by_kind": [{"name": name, **share(right[kinds == k])} for k, name in enumerate(data.kinds) if np.any(kinds == k)],
    }


def share(right: np.ndarray) -> dict[str, Any]:
    """A share as data: right (n,) bool, n > 0."""
    correct, n = int(right.sum()), len(right)
    low, high = wilson_interval(correct, n)
    return {"value": correct / n, "low": low, "high": high, "correct": correct, "samples": n, "unit": "fraction"}


def number(value: float, unit: str, samples: int) -> dict[str, Any]:
    """A number as data; NaN becomes null, which JSON can say."""
    return {"value": value if np.isfinite(value) else None, "unit": unit, "samples": samples}


def describe_baselines(data: PreparedData, rows: np.ndarray) -> dict[str, Any]:
    """What needs no model: the commonest training answer, and the commonest training answer to each input of one modality."""
    train, test = data.split("train"), data.split("test")
    known = np.asarray(train.labels)
    if not np.any(known >= 0):
        return {}
    majority = int(np.bincount(known[known >= 0], minlength=len(data.labels)).argmax())
    baselines = {"majority": {**share(np.asarray(test.labels)[rows] == majority), "answer": data.labels[majority]}}
    for m in data.report["modalities"]:
        if (found := lookup_accuracy(data, m)) is not None:
            baselines[f"{m}_alone"] = number(found, "fraction", len(test))
    return baselines
