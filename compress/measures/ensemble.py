"""The answers of several teachers as one, row by row: logits (M, R, K) of M teachers, NaN where one gave no answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.measures import metrics

STEPS = 500  # of expectation-maximisation; of a few teachers the weights stand still long before


def combine(
    logits: np.ndarray,
    how: str,
    *,
    one_of_many: bool,
    labels: np.ndarray | None = None,
    temperatures: Sequence[float] | None = None,
    learned: np.ndarray | None = None,
) -> np.ndarray:
    """(R, K) float32: the answers of all teachers that answered a row as one; NaN where none did.

    Of one of K labels: log sum_m w_m p_m / sum_m w_m, p the softmax of a teacher's logits; otherwise the mean of the logits (`how` is mean).
    w is by `how`: mean, agreement: 1; confidence: the largest of a teacher's probabilities; best: 1 for the teacher who gives the label
    most, of a row without one for the most confident, 0 for the others; learned: `learned` (M,), as `learn_weights` finds them. Confidence is
    that at `temperatures` (M,), what makes a teacher as sure as it is right, so that none is heard for its boasting.
    """
    there = np.isfinite(logits).all(2)  # (M, R)
    none = ~there.any(0)
    logits = np.where(there[..., None], logits, 0).astype(np.float32)
    if not one_of_many:
        mean = (logits * there[..., None]).sum(0) / np.maximum(there.sum(0), 1)[:, None]
        return np.where(none[:, None], np.nan, mean).astype(np.float32)
    log_p, sure = log_softmax(logits), confidence(logits, temperatures)
    weights = sure if how == "confidence" else np.ones_like(sure)
    if how == "learned" and learned is not None:
        weights = np.broadcast_to(learned.astype(np.float32)[:, None], sure.shape)
    if how == "best":
        merit = np.where(there, sure, -1.0)
        if labels is not None:
            given = np.take_along_axis(log_p, np.maximum(labels, 0)[None, :, None], 2)[..., 0]  # (M, R) of the label
            merit = np.where(labels >= 0, np.where(there, given, -np.inf), merit)
        weights = (np.arange(len(logits))[:, None] == merit.argmax(0)).astype(np.float32)
    with np.errstate(divide="ignore"):
        log_w = np.log(np.where(there, weights, 0) / np.maximum(np.where(there, weights, 0).sum(0), 1e-12))
    found = log_sum(log_p + log_w[..., None])
    return np.where(none[:, None], np.nan, found).astype(np.float32)


def learn_weights(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(M,) the weights w of the mean sum_m w_m p_m that gives labels (R,) the largest likelihood, sum_r log sum_m w_m p_m(label).

    It has one maximum, which expectation-maximisation reaches: w_m becomes the mean share of teacher m in its rows' likelihood. Each teacher has
    one row more that it alone explains, so that few rows leave the weights near equal. Rows without a label, or without every teacher's answer,
    say nothing.
    """
    kept = (labels >= 0) & np.isfinite(logits).all((0, 2))
    given = np.take_along_axis(log_softmax(logits[:, kept].astype(np.float32)), labels[kept][None, :, None], 2)[..., 0]  # (M, n) log p
    p, weights = np.exp(given - given.max(0)), np.full(len(logits), 1 / len(logits))
    for _ in range(STEPS):
        parts = weights[:, None] * p
        weights = ((parts / parts.sum(0)).sum(1) + 1) / (p.shape[1] + len(logits))
    return weights


def agreement(logits: np.ndarray) -> np.ndarray:
    """(R,) float32 in 0 to 1: 1 - JS / log m, JS the Jensen-Shannon divergence of the m teachers that answered a row.

    1 where they give the same probabilities, and where a single one answered; 0 where each is sure of another label.
    """
    there = np.isfinite(logits).all(2)
    count = there.sum(0)
    log_p = log_softmax(np.where(there[..., None], logits, 0).astype(np.float32))
    with np.errstate(divide="ignore"):
        log_w = np.log(there / np.maximum(count, 1))
    mean = log_sum(log_p + log_w[..., None])
    divergence = (np.exp(log_p) * (log_p - mean) * there[..., None]).sum(2).sum(0) / np.maximum(count, 1)
    return np.clip(1 - divergence / np.log(np.maximum(count, 2)), 0, 1).astype(np.float32)


def confidence(logits: np.ndarray, temperatures: Sequence[float] | None) -> np.ndarray:
    """(M, R) the largest probability of each teacher's answer at its own temperature."""
    by = np.ones(len(logits), np.float32) if temperatures is None else np.asarray(temperatures, np.float32)
    return np.exp(log_softmax(logits / by[:, None, None]).max(2))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of the last axis."""
    return metrics.log_softmax(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


def log_sum(terms: np.ndarray) -> np.ndarray:
    """log sum exp over the first axis, at least one of whose terms is finite; elsewhere it is -inf."""
    largest = np.maximum(terms.max(0), -1e30)
    with np.errstate(divide="ignore"):
        return largest + np.log(np.exp(terms - largest).sum(0))
