"""Losses on logits: `f(student, teacher, labels, *, options) -> scalar`; the teacher gets no gradient, and all are means over rows.

student, teacher: `Outputs` of R rows, of which these read the logits (R, K); labels: (R,) int64, -1 where a row is unlabelled. Those that
read labels leave unlabelled rows out and give 0 where a batch has none. One whose teacher may be None learns from labels alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.errors import RecipeError
from compress.io_spec import Outputs


def cross_entropy(student: Outputs, teacher: Outputs | None, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Hard labels: mean over labelled rows of -log p_label; `smoothing` spreads that share evenly over the classes.

    Needs: labels. Siblings: weighted_cross_entropy and focal, where classes are rare.
    """
    known = (labels >= 0).sum().clamp(min=1)
    return F.cross_entropy(student.logits, labels, ignore_index=-1, reduction="sum", label_smoothing=smoothing) / known


def weighted_cross_entropy(
    student: Outputs, teacher: Outputs | None, labels: Tensor, *, weights: list[float] | None = None, power: float = 1.0, counts: Tensor
) -> Tensor:
    """Hard labels where classes are rare: mean over labelled rows of -w_label log p_label.

    w_k = c / n_k^power, n_k the training rows of label k and c such that the mean weight of a training row is 1: power 1 gives every class
    the same say, 0.5 half of that (on a log scale), 0 is cross_entropy. Or `weights`: K numbers in the order of the labels, taken as they
    are. Needs: labels. Siblings: focal, which looks at how sure the student is and not at how rare a class is.
    """
    log_q = F.log_softmax(student.logits.float(), 1)
    return _mean_of_labelled(-log_q, labels, class_weights(counts, weights, power).to(log_q))


def focal(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    weights: list[float] | None = None,
    power: float = 0.0,
    counts: Tensor,
) -> Tensor:
    """Hard labels, sure rows count less: mean over labelled rows of -w_label (1 - p_label)^gamma log p_label.

    `weights` and `power` as in weighted_cross_entropy; by default every class weighs 1. Needs: labels. Source: arXiv 1708.02002, equation 5.
    gamma 0 is weighted_cross_entropy.
    """
    log_q = F.log_softmax(student.logits.float(), 1)
    away = torch.expm1(log_q).neg().clamp(min=torch.finfo(log_q.dtype).tiny)  # 1 - p; of 0 a power has no gradient
    return _mean_of_labelled(-(away**gamma) * log_q, labels, class_weights(counts, weights, power).to(log_q))


def kd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft labels: T^2 * mean_R sum_K p_T log(p_T / q_T), with p, q the teacher's and student's softmax at temperature T.

    T^2 keeps the gradient's size whatever T is. Needs: the teacher's logits. Source: arXiv 1503.02531, section 2. Siblings:
    kd_standardised, dkd, dist; half of logit_mse is its limit of large T (section 2.1).
    """
    log_q = F.log_softmax(student.logits / temperature, 1)
    log_p = F.log_softmax(teacher.logits.detach() / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def kd_standardised(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft labels of standardised logits: kd of z = (logits - mean_K) / deviation_K of each row, for student and teacher.

    The student need not reach the size of the teacher's logits, only their form. The deviation is that over K, not K - 1; 1e-6 is added to
    it. Needs: the teacher's logits. Source: arXiv 2403.01427, algorithm 1. Siblings: kd; dist, which standardises probabilities.
    """
    s, t = (_standardised(outputs.logits.float()) for outputs in (student, teacher))
    return kd(Outputs(s), Outputs(t), labels, temperature=temperature)


def dkd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 4.0) -> Tensor:
    """Decoupled distillation: T^2 * mean_R (alpha * KL(target or not) + beta * KL(among the others)).

    The target is the label, or the teacher's own answer where a row is unlabelled. Needs: the teacher's logits; labels where there are any.
    Source: arXiv 2203.08679, equation 7. kd is the case alpha 1 and beta the teacher's share of the other classes, row by row.
    """
    s, t = student.logits / temperature, teacher.logits.detach() / temperature
    target = torch.where(labels >= 0, labels, t.argmax(1))[:, None]  # (R, 1)
    mask = F.one_hot(target[:, 0], s.shape[1]).bool()  # (R, K)
    log_q, log_p = F.log_softmax(s, 1), F.log_softmax(t, 1)

    def binary(log: Tensor) -> Tensor:  # (R, K) -> (R, 2): log of target, log of all others
        others = log.masked_fill(mask, -torch.inf).logsumexp(1)
        return torch.stack([log.gather(1, target)[:, 0], others], 1)

    first = F.kl_div(binary(log_q), binary(log_p), reduction="batchmean", log_target=True)
    rest_q = F.log_softmax(s.masked_fill(mask, -1e4), 1)
    rest_p = F.log_softmax(t.masked_fill(mask, -1e4), 1)
    second = (rest_p.exp() * (rest_p - rest_q)).masked_fill(mask, 0).sum(1).mean()
    return temperature**2 * (alpha * first + beta * second)


def dist(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 1.0, inter: float = 1.0, intra: float = 1.0) -> Tensor:
    """T^2 * (inter * mean_R (1 - corr of rows) + intra * mean_K (1 - corr of columns)) of the softmaxes at temperature T.

    Pearson's correlation asks for the teacher's ranking, not for its numbers. Needs: the teacher's logits. Source: arXiv 2205.10536,
    equations 9 to 11. The columns compare rows of a batch, as the losses of relations do.
    """
    q, p = F.softmax(student.logits / temperature, 1), F.softmax(teacher.logits.detach() / temperature, 1)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return (1 - F.cosine_similarity(a, b, dim=1)).mean()

    return temperature**2 * (inter * distance(q, p) + intra * distance(q.t(), p.t()))


def logit_mse(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """mean over rows and classes of (s - t)^2, both with their row's mean taken off, which softmax does not see.

    Needs: the teacher's logits. Siblings: logit_l1, which a few far logits pull less.
    """
    s, t = _centred(student.logits), _centred(teacher.logits.detach())
    return F.mse_loss(s, t)


def logit_l1(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """mean over rows and classes of |s - t|, both with their row's mean taken off, which softmax does not see.

    Needs: the teacher's logits. Siblings: logit_mse.
    """
    s, t = _centred(student.logits), _centred(teacher.logits.detach())
    return F.l1_loss(s, t)


def teacher_label(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """Hard labels of the teacher: mean over rows of -log p of the class that the teacher answers.

    It is 0 where the student is sure of that class, and not where it is as unsure as the teacher. Needs: the teacher's logits. Siblings: kd,
    which also says how sure the teacher is, and what else it might have been.
    """
    return F.cross_entropy(student.logits, teacher.logits.detach().argmax(1))


def class_weights(counts: Tensor, weights: list[float] | None, power: float) -> Tensor:
    """(K,) weights of the classes with so many labelled training rows, or those given; a class without rows weighs 0.

    Raises: RecipeError where other than K are given.
    """
    if weights is not None:
        if len(weights) != len(counts):
            raise RecipeError(f"distill.losses: {len(weights)} weights are given, but the data has {len(counts)} labels")
        return torch.tensor(weights)
    raw = torch.where(counts > 0, counts.clamp(min=1).float() ** -power, 0.0)
    return raw * counts.sum() / (raw * counts).sum().clamp(min=1e-12)


def _mean_of_labelled(terms: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """terms: (R, K), of which each labelled row gives that of its label; weights: (K,)."""
    known = labels >= 0
    own = labels.clamp(min=0)
    return (terms.gather(1, own[:, None])[:, 0] * weights[own] * known).sum() / known.sum().clamp(min=1)


def _standardised(logits: Tensor) -> Tensor:
    return _centred(logits) / (logits.std(1, keepdim=True, correction=0) + 1e-6)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)
