"""One of K labels, looked at more closely: precision, recall and F1 of each, what is taken for what, top k, and how sure is too sure.

Counts and their quotients, so no library is needed for them; the tests hold them against scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.measures.metrics import wilson_interval

BINS = 10
TOP = (1, 3, 5)
MOST_CONFUSIONS = 400


def describe_labels(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """{by_class, macro, confusions, top, calibration} over the rows whose logits are finite; {} where labels are no whole numbers.

    by_class: [{name, samples, answered, precision, recall, f1}], shares as {value, low, high}, value None where nothing was counted;
    macro: their means over the classes that occur; confusions: [[label, answer, rows]], the most frequent ones first; top: {k: share}.
    Shapes: logits (R, K), labels (R,) int.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or logits.shape[1] < 2:
        return {}
    finite = np.isfinite(logits).all(axis=1) & (labels >= 0)
    logits, labels = logits[finite].astype(np.float64), labels[finite].astype(np.int64)
    if not len(labels):
        return {}
    answers = logits.argmax(axis=1)
    classes = by_class(answers, labels, names)
    told = {key: [c[key]["value"] for c in classes if c["samples"]] for key in ("precision", "recall", "f1")}
    rank = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(axis=1)  # (R,) how many answers come before the label
    return {
        "by_class": classes,
        "macro": {key: float(np.mean([value or 0.0 for value in values])) for key, values in told.items()},
        "confusions": confusions(answers, labels),
        "top": {str(k): share(int((rank < k).sum()), len(rank)) for k in TOP if k < logits.shape[1]},
        "calibration": calibration(logits, labels),
    }


def by_class(answers: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each class that is a label or an answer: of the rows that were answered so, and of those that are so, the share that is right.

    F1 = 2 hits / (rows answered so + rows that are so). Shapes: answers, labels (R,) int."""
    found = []
    for k, name in enumerate(names):
        hits, answered, samples = (int(np.sum(rows)) for rows in ((answers == k) & (labels == k), answers == k, labels == k))
        if answered or samples:
            shares = {"precision": share(hits, answered), "recall": share(hits, samples)}
            found.append(
                {"name": name, "samples": samples, "answered": answered, **shares, "f1": {"value": 2 * hits / (answered + samples)}}
            )
    return found


def confusions(answers: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """[label, answer, rows] of the wrong answers, the most frequent ones first, at most MOST_CONFUSIONS. Shapes: (R,) int."""
    wrong = answers != labels
    pairs, counts = np.unique(np.stack([labels[wrong], answers[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]
    return [[int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])] for i in order]


def calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """{ece, bins: [{low, high, samples, confidence, accuracy}]}: how often an answer is right that is given with such a probability.

    *Formula*: ece = sum over the BINS equal bins of samples / R * |accuracy - confidence|, confidence the mean largest probability.
    Source: Guo et al. 2017, arXiv 1706.04599, section 2. Shapes: logits (R, K) float64, labels (R,).
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1 / shifted.sum(axis=1)  # (R,): the largest of each row is exp(0)
    right = logits.argmax(axis=1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for k in range(BINS):
        inside = place == k
        if count := int(inside.sum()):
            mean, hits = float(confidence[inside].mean()), int(right[inside].sum())
            ece += count / len(labels) * abs(hits / count - mean)
            bins.append({"low": k / BINS, "high": (k + 1) / BINS, "samples": count, "confidence": mean, "accuracy": share(hits, count)})
    return {"ece": ece, "bins": bins}


def share(hits: int, count: int) -> dict[str, Any]:
    """{value, low, high} of hits out of count; value None where nothing was counted."""
    low, high = wilson_interval(hits, count)
    return {"value": hits / count if count else None, "low": low, "high": high}
