"""Losses of one class for each place of a picture: `f(student, teacher, labels, **options) -> scalar` on logits (R, P K), K behind K.

labels: (R, S, S) int64 places among the K classes, P = S * S, K where a place is ignored, -1 throughout where a row is unlabelled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs
from compress.losses.logits import class_weights


def pixel_cross_entropy(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    *,
    weights: list[float] | None = None,
    power: float = 0.0,
    counts: Tensor | None = None,
) -> Tensor:
    """Hard labels: mean over labelled places of -w_label log q[label], with q = softmax of the place's logits.

    `weights` and `power` as in weighted_cross_entropy, n_k the labelled training places of class k; by default every class weighs 1.
    Needs: labels of places. Siblings: pixel_dice, where what matters is small.
    """
    logits, wanted = by_place(student.logits, labels), labels.flatten()
    known = (wanted >= 0) & (wanted < logits.shape[1])
    parts = F.cross_entropy(logits, wanted.where(known, 0), reduction="none")
    if counts is not None and (weights is not None or power):
        parts = parts * class_weights(counts, weights, power).to(parts)[wanted.where(known, 0)]
    return (parts * known).sum() / known.sum().clamp(min=1)


def pixel_dice(student: Outputs, teacher: Outputs | None, labels: Tensor) -> Tensor:
    """Hard labels: mean over the classes that occur of 1 - 2 sum_P q y / (sum_P q + sum_P y), over the labelled places P of a batch.

    q is the softmax of a place's logits, y is 1 where the label is the class. A small class counts as much as a large one.
    Source: arXiv 1606.04797, section 3, without its squares. Needs: labels of places.
    """
    logits, wanted = by_place(student.logits, labels), labels.flatten()
    classes = logits.shape[1]
    known = (wanted >= 0) & (wanted < classes)
    y = (wanted[:, None] == torch.arange(classes, device=wanted.device)).to(logits.dtype)  # (R P, K), 0 where a place is ignored
    q = logits.softmax(1) * known[:, None]
    there = y.sum(0) > 0  # (K,)
    parts = 1 - 2 * (q * y).sum(0) / (q.sum(0) + y.sum(0)).clamp(min=1e-6)
    return (parts * there).sum() / there.sum().clamp(min=1)


def pixel_kd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft labels: T^2 * mean over places of KL(p || q), with p, q the teacher's and student's softmax of a place's logits at temperature T.

    arXiv 1503.02531, section 2, place by place, as arXiv 1903.04197, section 3.2 has it. All places count, ignored ones too.
    Needs: the teacher's logits.
    """
    s, t = (by_place(x, labels) for x in (student.logits, teacher.logits.detach()))
    log_q, log_p = F.log_softmax(s / temperature, 1), F.log_softmax(t / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def by_place(logits: Tensor, labels: Tensor) -> Tensor:
    """(R P, K) of logits (R, P K) and labels (R, S, S), P = S * S."""
    places = torch.Size(labels.shape[1:]).numel()
    return logits.unflatten(1, (places, -1)).flatten(0, 1)
