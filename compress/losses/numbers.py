"""Losses of answers that are numbers: `f(student, teacher, labels, **options) -> scalar` on logits (R, D), in deviations of the training split.

labels: (R, D) float32, NaN where a row is unlabelled; such rows are left out by what reads labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs


def squared_error(student: Outputs, teacher: Outputs | None, labels: Tensor) -> Tensor:
    """Hard numbers: mean over labelled rows and numbers of (s - y)^2.

    Needs: labels that are numbers.
    """
    return _over_known((student.logits - labels.nan_to_num()).square(), labels)


def absolute_error(student: Outputs, teacher: Outputs | None, labels: Tensor, *, beta: float = 0.0) -> Tensor:
    """Hard numbers: mean over labelled rows and numbers of |s - y|, which outliers move less.

    Within `beta` of y: (s - y)^2 / (2 beta) + beta / 2, so that there is no step. Needs: labels that are numbers.
    """
    wanted = labels.nan_to_num()
    return _over_known(F.smooth_l1_loss(student.logits, wanted, beta=beta, reduction="none") + beta / 2, labels)


def number_kd(student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    """The teacher's numbers: mean over rows and numbers of (s - t)^2.

    Needs: the teacher's logits.
    """
    return F.mse_loss(student.logits, teacher.logits.detach())


def _over_known(parts: Tensor, labels: Tensor) -> Tensor:
    known = torch.isfinite(labels).all(1)  # (R,)
    return (parts.mean(1) * known).sum() / known.sum().clamp(min=1)
