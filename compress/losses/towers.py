"""Losses of towers: each input of a row has a vector of its own in one space, and pairs of a batch are told apart.

student, teacher: `Outputs` of R rows with `logits` (R, M D), M vectors behind each other; labels: (R,), negative where a row has none. The
vectors of one row belong together, and so do those of rows of one label. The work grows with the square of a batch's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs
from compress.losses.vectors import FAR


def tower_contrast(student: Outputs, teacher: Outputs | None, labels: Tensor, *, towers: int, temperature: float = 0.07) -> Tensor:
    """Pairs: mean over ordered pairs of towers (a, b) and rows i of the mean over i's likes p of -log softmax_j(cos(a_i, b_j) / T) at j = p.

    A row's likes are itself and the others of its label, so that nobody is pushed from its own; rows without a label take no part.
    Needs: labels. Source: CLIP, arXiv 2103.00020, figure 3, with likes as in UniCL, arXiv 2204.03610, equations 3 and 4, and a temperature
    that stays. Siblings: label_contrast, among vectors of one tower; tower_affinity, which asks the teacher who is like whom.
    """
    known = labels >= 0
    alike = ((labels[:, None] == labels[None]) & known[:, None] & known).float()  # (R, R)
    share = alike / alike.sum(1, keepdim=True).clamp(min=1) / known.sum().clamp(min=1)
    vectors = split_towers(student.logits, towers)

    def term(a: int, b: int) -> Tensor:
        cosines = (vectors[a] @ vectors[b].T / temperature).masked_fill(~known, FAR)
        return -(share * F.log_softmax(cosines, 1)).sum()

    return _mean(towers, term)


def tower_affinity(student: Outputs, teacher: Outputs, labels: Tensor, *, towers: int, temperature: float = 0.07) -> Tensor:
    """Who is like whom across towers: mean over ordered pairs (a, b) and rows i of KL(p_i || q_i), p_i = softmax_j(cos(a_i, b_j) / T) of the
    teacher's vectors, q_i of the student's.

    Needs: the teacher's logits, whose towers may have another size. Source: affinity mimicking of TinyCLIP, arXiv 2309.12314, equations 3
    to 5, less the teacher's own entropy. Siblings: tower_neighbours, in which the gallery is the teacher's.
    """
    return copy_affinity(split_towers(student.logits, towers), split_towers(teacher.logits.detach(), towers), temperature)


def tower_neighbours(student: Outputs, teacher: Outputs, labels: Tensor, *, towers: int, temperature: float = 0.07) -> Tensor:
    """The student's queries in the teacher's galleries: tower_affinity with q_i = softmax_j(cos(a_i, b_j) / T), a of the student and b of the
    teacher.

    What a search through stored vectors of the teacher asks for. Needs: the teacher's logits, of the student's size. Siblings:
    vector_neighbours, whose gallery is of the query's own tower; vector_kd, which asks for the place and not for the order.
    """
    s, t = split_towers(student.logits, towers), split_towers(teacher.logits.detach(), towers)
    return _mean(towers, lambda a, b: _kl(_log_p(t[a], t[b], temperature), _log_p(s[a], t[b], temperature)))


def copy_affinity(student: list[Tensor], teacher: list[Tensor], temperature: float) -> Tensor:
    """The mean over ordered pairs (a, b) and rows of KL(p || q), p = softmax_j(t_a,i . t_b,j / T), q of the student's; M tensors (R, D) of length 1
    each, whose widths may be others between the two."""
    s, t = student, teacher
    return _mean(len(s), lambda a, b: _kl(_log_p(t[a], t[b], temperature), _log_p(s[a], s[b], temperature)))


def split_towers(logits: Tensor, towers: int) -> list[Tensor]:
    """M tensors (R, D) of length 1."""
    return [F.normalize(part, dim=1) for part in logits.float().chunk(towers, 1)]


def _mean(towers: int, term: Callable[[int, int], Tensor]) -> Tensor:
    return torch.stack([term(a, b) for a, b in permutations(range(towers), 2)]).mean()


def _log_p(queries: Tensor, gallery: Tensor, temperature: float) -> Tensor:
    return F.log_softmax(queries @ gallery.T / temperature, 1)  # (R, R)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
