"""Losses of several yes-or-no answers a row: `f(student, teacher, labels, **options) -> scalar` on logits (R, K), each read by a sigmoid.

labels: (R, K) int64 of 0 and 1, -1 throughout where a row is unlabelled; such rows are left out by what reads labels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs


def binary_cross_entropy(student: Outputs, teacher: Outputs | None, labels: Tensor, *, positive_weight: float = 1.0) -> Tensor:
    """Hard tags: mean over labelled rows and tags of -w y log p - (1 - y) log(1 - p), w = `positive_weight`.

    A weight above 1 finds rare tags. Needs: labels that are tags.
    """
    known = (labels >= 0).all(1)  # (R,)
    wanted = labels.clamp(min=0).to(student.logits.dtype)
    weight = 1 + (positive_weight - 1) * wanted
    parts = F.binary_cross_entropy_with_logits(student.logits, wanted, weight=weight, reduction="none").mean(1)  # (R,)
    return (parts * known).sum() / known.sum().clamp(min=1)


def binary_kd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft tags: T^2 * mean over rows and tags of KL(p || q), with p, q the teacher's and student's sigmoid at temperature T.

    arXiv 1503.02531, section 2, for each tag as a choice of two; T^2 keeps the gradient's size whatever T is. Needs: the teacher's logits.
    """
    s, t = student.logits / temperature, teacher.logits.detach() / temperature
    p = t.sigmoid()
    yes, no = F.logsigmoid(t) - F.logsigmoid(s), F.logsigmoid(-t) - F.logsigmoid(-s)
    return temperature**2 * (p * yes + (1 - p) * no).mean()
