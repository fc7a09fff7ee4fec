"""Losses on how two spaces lie to each other, whatever their axes: whole states but for a turn, and the states of two modalities.

student, teacher: `Outputs` of R rows; `tap` names the state, (R, D_s) of the student and (R, D_t) of the teacher, and `other` a second one. No
projection is needed, labels are not read. A batch of one row says nothing and gives 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs
from compress.losses.hidden import hidden_pair
from compress.losses.towers import copy_affinity

TINY = 1e-12  # under a fraction: equal rows have no spread


def cka(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding") -> Tensor:
    """Centred kernel alignment: 1 - <K_s, K_t> / (|K_s| |K_t|), K = x x^T of the states less their mean over rows, <,> and | | over all pairs.

    It is 0 where the states are equal but for a turn and one scale: of D numbers a row, the wide directions count most. Needs: the teacher's
    state. Source: arXiv 1905.00414, section 3 (linear kernel). Siblings: procrustes, where narrow directions count as well; similarity,
    which compares angles from the origin.
    """
    s, t = (x - x.mean(0) for x in hidden_pair(student, teacher, tap))
    if len(s) < 2:
        return 0 * s.sum()
    return 1 - F.cosine_similarity((s @ s.T).flatten(), (t @ t.T).flatten(), dim=0, eps=TINY)


def procrustes(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding") -> Tensor:
    """The nearest turn: min_Q |s Q - t|^2 / 2 = 1 - |s^T t|_*, s and t less their mean over rows and over their length, Q^T Q = 1 or Q Q^T = 1.

    |.|_* is the sum of the singular values, so the best turn is found anew in each batch and never learnt; of the wider space the
    student fills the subspace that fits best. Needs: the teacher's state. Source: arXiv 2108.01661, section 2. Siblings: cka; hint, whose
    projection is learnt and may stretch.
    """
    s, t = (x - x.mean(0) for x in hidden_pair(student, teacher, tap))
    if len(s) < 2:
        return 0 * s.sum()
    s, t = (F.normalize(x.flatten(), dim=0, eps=TINY).view_as(x) for x in (s, t))
    return 1 - torch.linalg.svdvals(s.T @ t).sum()


def affinity(
    student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", other: str = "embedding", temperature: float = 0.1
) -> Tensor:
    """Who is near whom across two states: mean over rows i of KL(p_i || q_i), half each way, p_i = softmax_j(cos(t_i, u_j) / T).

    t and u are the teacher's states `tap` and `other`, such as what it makes of a row's image and of its text before they are joined; q is that
    of the student's two, whose widths may be others. Needs: the teacher's states. Source: affinity mimicking, TinyCLIP, arXiv 2309.12314.
    Siblings: pkt, of one state; cosine, which leads one modality at a time.
    """
    pairs = [[F.normalize(x, dim=1, eps=TINY) for x in hidden_pair(student, teacher, name)] for name in (tap, other)]
    own, theirs = zip(*pairs, strict=True)
    return copy_affinity([*own], [*theirs], temperature)
