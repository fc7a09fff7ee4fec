"""Losses of vectors that are ranked by cosine: `f(student, teacher, labels, **options) -> scalar` on logits (R, D), whatever their length.

labels: (R,) int64, -1 where a row is unlabelled; such rows are left out by what reads labels. Those of relations grow with the square of a
batch's rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs

FAR = -1e9  # a logit that a softmax does not see; unlike infinity it has a gradient where a row has nothing else


def label_contrast(student: Outputs, teacher: Outputs | None, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Hard labels: mean over rows i with a like in the batch of the mean over its likes p of -log softmax_{a != i}(cos(s_i, s_a) / T) at a = p.

    A like is another row of the same label; a batch without any gives 0. Needs: labels. Source: supervised contrastive learning, arXiv
    2004.11362, equation 2. Siblings: vector_neighbours, which takes the teacher's word for who is like whom.
    """
    vectors, known = F.normalize(student.logits.float(), dim=1), labels >= 0
    others = known[None] & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)  # (R, R)
    alike = (labels[:, None] == labels[None]) & others & known[:, None]
    log_q = F.log_softmax((vectors @ vectors.T / temperature).masked_fill(~others, FAR), 1).masked_fill(~alike, 0)
    likes = alike.sum(1)  # no masks as indices: an accelerator would be waited for to know how many rows are left
    return -(log_q.sum(1) / likes.clamp(min=1)).sum() / (likes > 0).sum().clamp(min=1)


def vector_kd(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """The teacher's directions: mean over rows of 1 - cos(s, t).

    Of vectors of length 1 it is half of the squared distance. Needs: the teacher's logits. Siblings: cosine, the same of hidden states.
    """
    return (1 - F.cosine_similarity(student.logits.float(), teacher.logits.detach().float(), dim=1)).mean()


def vector_neighbours(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Who is near in the teacher's gallery: mean over rows i of KL(p_i || q_i), p_i = softmax_j(cos(t_i, t_j) / T), q_i that of cos(s_i, t_j).

    The batch's teacher vectors are the gallery, and the student's queries are to rank it as the teacher's do: what a search through stored
    vectors asks for. Needs: the teacher's logits. Source: after in-batch similarity distillation, SEED, arXiv 2101.04731, equation 5, with
    the batch in place of a queue. Siblings: vector_kd, which asks for the place and not for the order; pkt, student against student.
    """
    s, t = (F.normalize(x.float(), dim=1) for x in (student.logits, teacher.logits.detach()))
    log_q, log_p = (F.log_softmax(x @ t.T / temperature, 1) for x in (s, t))
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
