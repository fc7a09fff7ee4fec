"""Losses on logits: `f(student, teacher, labels, **options) -> scalar`.

student, teacher: `Outputs`, of which these read the (R, K) float32 logits; labels: (R,) int64, -1 where a row is unlabelled. Losses that read labels leave
unlabelled rows out and give 0 where a batch has none. The teacher gets no gradient. All are means over rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs


def cross_entropy(student: Outputs, teacher: Outputs | None, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Hard labels: mean over labelled rows of -log p_label; `smoothing` spreads that share evenly over the classes."""
    known = (labels >= 0).sum().clamp(min=1)
    return F.cross_entropy(student.logits, labels, ignore_index=-1, reduction="sum", label_smoothing=smoothing) / known


def kd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft labels: T^2 * mean_R sum_K p_T log(p_T / q_T), with p, q the teacher's and student's softmax at temperature T.

    Source: arXiv 1503.02531, section 2; T^2 keeps the gradient's size whatever T is.
    """
    log_q = F.log_softmax(student.logits / temperature, 1)
    log_p = F.log_softmax(teacher.logits.detach() / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def dkd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 4.0) -> Tensor:
    """Decoupled distillation: T^2 * mean_R (alpha * KL(target or not) + beta * KL(among the others)).

    The target is the label, or the teacher's own answer where a row is unlabelled. Source: arXiv 2203.08679, equation 7.
    """
    s, t = student.logits / temperature, teacher.logits.detach() / temperature
    target = torch.where(labels >= 0, labels, t.argmax(1))  # (R,)
    mask = F.one_hot(target, s.shape[1]).bool()  # (R, K)
    log_q, log_p = F.log_softmax(s, 1), F.log_softmax(t, 1)

    def binary(log: Tensor) -> Tensor:  # (R, K) -> (R, 2): log of target, log of all others
        others = log.masked_fill(mask, -torch.inf).logsumexp(1)
        return torch.stack([log[mask], others], 1)

    first = F.kl_div(binary(log_q), binary(log_p), reduction="batchmean", log_target=True)
    rest_q = F.log_softmax(s.masked_fill(mask, -1e4), 1)
    rest_p = F.log_softmax(t.masked_fill(mask, -1e4), 1)
    second = (rest_p.exp() * (rest_p - rest_q)).masked_fill(mask, 0).sum(1).mean()
    return temperature**2 * (alpha * first + beta * second)


def dist(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 1.0, inter: float = 1.0, intra: float = 1.0) -> Tensor:
    """T^2 * (inter * mean_R (1 - corr of rows) + intra * mean_K (1 - corr of columns)) of the softmaxes at temperature T.

    Pearson's correlation asks for the teacher's ranking, not for its numbers. Source: arXiv 2205.10536, equations 9 to 11.
    """
    q, p = F.softmax(student.logits / temperature, 1), F.softmax(teacher.logits.detach() / temperature, 1)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return (1 - F.cosine_similarity(a, b, dim=1)).mean()

    return temperature**2 * (inter * distance(q, p) + intra * distance(q.t(), p.t()))


def logit_mse(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """mean over rows and classes of (s - t)^2, both with their row's mean taken off, which softmax does not see."""
    s, t = student.logits, teacher.logits.detach()
    return F.mse_loss(s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True))
