"""One of K labels, looked at more closely: precision, recall, F1 and areas of each, what is taken for what, top k, and how sure is too sure.

Counts and their quotients need no library, and the tests hold them against scikit-learn's; the areas under curves are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.measures.metrics import cross_entropy, log_softmax, wilson_interval

BINS = 10
TOP = (1, 3, 5)
MOST_CONFUSIONS = 400
TEMPERATURE_ROWS = 200  # that a temperature is fitted on: of fewer it would be noise
LOG_TEMPERATURE = (-2.3, 2.3)  # a tenth to ten


def describe_labels(logits: np.ndarray, labels: np.ndarray, names: Sequence[str], *, temperature: float = 1.0) -> dict[str, Any]:
    """{by_class, macro, confusions, top, calibration} over the rows whose logits are finite; {} where labels are no whole numbers.

    by_class: [{name, samples, answered, precision, recall, f1, roc_auc, pr_auc}], shares as {value, low, high}, value None where nothing was
    counted; macro: their means over the classes that occur, a precision of nothing being 0; confusions: [[label, answer, rows]], the most frequent ones first; top: {k: share}.
    temperature: what the logits are divided by where they become probabilities. Shapes: logits (R, K), labels (R,) int.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or logits.shape[1] < 2:
        return {}
    finite = np.isfinite(logits).all(axis=1) & (labels >= 0)
    logits, labels = logits[finite].astype(np.float64), labels[finite].astype(np.int64)
    if not len(labels):
        return {}
    answers = logits.argmax(axis=1)
    classes = by_class(answers, labels, names)
    probabilities = np.exp(log_softmax(logits / temperature))
    for c in classes:
        k = names.index(c["name"])
        c |= areas(probabilities[:, k], labels == k)
    there = [c for c in classes if c["samples"]]
    macro: dict[str, float | None] = {key: float(np.mean([c[key]["value"] or 0.0 for c in there])) for key in ("precision", "recall", "f1")}
    for key in ("roc_auc", "pr_auc"):
        known = [c[key]["value"] for c in there if c[key]["value"] is not None]
        macro[key] = float(np.mean(known)) if known else None
    rank = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(axis=1)  # (R,) how many answers come before the label
    return {
        "by_class": classes,
        "macro": macro,
        "confusions": confusions(answers, labels),
        "top": {str(k): share(int((rank < k).sum()), len(rank)) for k in TOP if k < logits.shape[1]},
        "calibration": {
            **calibration(logits / temperature, labels),
            "temperature": temperature,
            "ece_without": calibration(logits, labels)["ece"],
        },
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


def areas(scores: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """{roc_auc: {value, low, high}, pr_auc: {value}} of one class against the rest; values None where all rows are of one side.

    roc_auc is the share of the pairs of a row of the class and another row in which the former scores higher; its 95 % interval is that of
    Hanley and McNeil (1982). pr_auc is the average precision. Shapes: scores (R,) float, positive (R,) bool."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return {"roc_auc": {"value": None, "low": None, "high": None}, "pr_auc": {"value": None}}
    area = float(roc_auc_score(positive, scores))
    one, two = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2  # what pairs that share a row have in common
    reach = 1.96 * max(0.0, (area * (1 - area) + (n - 1) * one + (m - 1) * two) / (n * m)) ** 0.5
    interval = {"value": area, "low": max(0.0, area - reach), "high": min(1.0, area + reach)}
    return {"roc_auc": interval, "pr_auc": {"value": float(average_precision_score(positive, scores))}}


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
    confidence = np.exp(log_softmax(logits)).max(axis=1)  # (R,)
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


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The T that makes softmax(logits / T) the most probable account of the labels; None where fewer than TEMPERATURE_ROWS rows say so.

    *Formula*: the minimum over T in [0.1, 10] of -mean_R log softmax(logits / T)[label], which moves no answer. Source: Guo et al. 2017, arXiv
    1706.04599, section 4.2. Shapes: logits (R, K), labels (R,) int, -1 where there is none."""
    from scipy.optimize import minimize_scalar

    there = (labels >= 0) & np.isfinite(logits).all(axis=1)
    if there.sum() < TEMPERATURE_ROWS:
        return None
    z, own = logits[there].astype(np.float64), labels[there].astype(np.int64)

    def surprise(log_t: float) -> float:
        return cross_entropy(z / np.exp(log_t), own)

    return float(np.exp(minimize_scalar(surprise, bounds=LOG_TEMPERATURE, method="bounded").x))


def share(hits: int, count: int) -> dict[str, Any]:
    """{value, low, high} of hits out of count; value None where nothing was counted."""
    low, high = wilson_interval(hits, count)
    return {"value": hits / count if count else None, "low": low, "high": high}
