"""Losses on relations between the rows of a batch, by their hidden states: who is near to whom, so that no projection is needed.

student, teacher: `Outputs` of R rows; `tap` names the state, (R, D_s) of the student and (R, D_t) of the teacher. Labels are not read. The
work grows with the square of a batch's rows; a batch of one row has no relations and gives 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.io_spec import Outputs
from compress.losses.hidden import hidden_pair

TINY = 1e-12  # under a root or a fraction: equal rows have no direction, and must have no gradient either


def rkd_distance(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding") -> Tensor:
    """Distances: mean over pairs of rows of huber(d_s - d_t), d the Euclidean distance over its mean in the batch.

    huber(x) is x^2 / 2 up to 1 and |x| - 1/2 beyond. Needs: the teacher's state. Source: arXiv 1904.05068, equations 5 to 8. Siblings:
    rkd_angle; similarity and pkt, which compare by angle from the origin.
    """
    s, t = (_pairs(_distances(x)) for x in hidden_pair(student, teacher, tap))
    return F.smooth_l1_loss(_over_mean(s), _over_mean(t)) if s.numel() else 0 * s.sum()


def rkd_angle(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", most: int = 64) -> Tensor:
    """Angles: mean over triples of rows of huber(cos_s - cos_t), cos that of the angle at the middle row.

    huber as in rkd_distance; triples with a row twice are left out. The work grows with the third power of the rows, so the first `most` of
    a batch, which are drawn by chance, stand for it. Needs: the teacher's state. Source: arXiv 1904.05068, equations 9 and 10.
    """
    s, t = (_angles(x[:most]) for x in hidden_pair(student, teacher, tap))  # (R, R, R)
    rows = len(s)
    own = torch.eye(rows, dtype=torch.bool)
    apart = ~(own[:, :, None] | own[:, None, :] | own[None])
    places = apart.flatten().nonzero()[:, 0].to(s.device)  # found on the processor: an accelerator would be waited for
    return F.smooth_l1_loss(s.flatten()[places], t.flatten()[places]) if rows > 2 else 0 * s.sum()


def similarity(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding") -> Tensor:
    """Similarity-preserving: 1 / R^2 * sum over pairs of (g_s - g_t)^2, g the rows of x x^T, each over its length.

    Needs: the teacher's state. Source: arXiv 1907.09682, equations 2 to 4. Siblings: pkt, which makes probabilities of the same products.
    """
    s, t = (F.normalize(x @ x.T, dim=1, eps=TINY) for x in hidden_pair(student, teacher, tap))
    return F.mse_loss(s, t)


def pkt(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding") -> Tensor:
    """Probabilities of being near: mean over rows i of sum_j p_ij log(p_ij / q_ij), p_ij the share of k_ij = (1 + cos(x_i, x_j)) / 2, j not i.

    Needs: the teacher's state. Source: arXiv 1803.10837, equations 3 to 6. Siblings: similarity; contrastive, which asks each row for its own.
    """
    s, t = (_neighbours(x) for x in hidden_pair(student, teacher, tap))
    return (t * (t.clamp(min=TINY).log() - s.clamp(min=TINY).log())).sum(1).mean()


def contrastive(
    student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", temperature: float = 0.1, project: nn.Module
) -> Tensor:
    """Each row is told from the others by the teacher's state: mean over rows i of -log softmax_j(cos(project(s_i), t_j) / T) at j = i.

    It is near 0 where the teacher's states of different rows lie apart, and at most log R where they do not. Needs: the teacher's state.
    Source: CRD, arXiv 1910.10699, with the other rows of the batch in place of a memory bank (arXiv 1807.03748). Siblings: cosine, which
    draws rows near and pushes none away.
    """
    s, t = (F.normalize(x, dim=1, eps=TINY) for x in hidden_pair(student, teacher, tap, project))
    return F.cross_entropy(s @ t.T / temperature, torch.arange(len(s), device=s.device))


def _distances(x: Tensor) -> Tensor:
    """(R, D) -> (R, R)."""
    x = x - x.mean(0)  # less is lost when large numbers are taken off each other
    squares = (x * x).sum(1)
    return (squares[:, None] + squares[None] - 2 * x @ x.T).clamp(min=TINY).sqrt()


def _pairs(square: Tensor) -> Tensor:
    """(R, R) -> (R (R - 1) / 2,): each pair once."""
    return square[tuple(torch.triu_indices(len(square), len(square), 1, device=square.device))]


def _over_mean(distances: Tensor) -> Tensor:
    return distances / distances.mean().clamp(min=TINY)


def _angles(x: Tensor) -> Tensor:
    """(R, D) -> (R, R, R): the cosine of the angle between rows i and k as seen from row j, at [j, i, k]."""
    directions = F.normalize(x[None] - x[:, None], dim=2, eps=TINY)  # [j, i]: from j to i
    return directions @ directions.transpose(1, 2)


def _neighbours(x: Tensor) -> Tensor:
    """(R, D) -> (R, R): each row's shares of the others."""
    x = F.normalize(x, dim=1, eps=TINY)
    near = ((1 + x @ x.T) / 2).clamp(min=0)
    near = near * (1 - torch.eye(len(x), device=x.device))
    return near / near.sum(1, keepdim=True).clamp(min=TINY)
