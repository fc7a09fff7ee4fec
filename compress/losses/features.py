"""Losses on hidden states: what the last layer reads, or a state that both models have; the student is led to the teacher's own numbers.

student, teacher: `Outputs` of R rows; `tap` names the state, (R, D_s) of the student and (R, D_t) of the teacher. Where the widths differ,
`project` is a linear layer D_s -> D_t: it is made and trained by the program and no part of the exported student. Labels are not read.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from compress.io_spec import Outputs
from compress.losses.hidden import hidden_pair


def hint(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", project: nn.Module) -> Tensor:
    """The teacher's own numbers: mean over rows and channels of (project(s) - t)^2.

    Needs: the teacher's state. Source: FitNets, arXiv 1412.6550, equation 3, which has the half of the sum over channels. Siblings:
    hint_l1, cosine; simkd, where the student keeps the projection and answers by the teacher's last layer.
    """
    return F.mse_loss(*hidden_pair(student, teacher, tap, project))


def hint_l1(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", project: nn.Module) -> Tensor:
    """The teacher's own numbers: mean over rows and channels of |project(s) - t|.

    Needs: the teacher's state. Siblings: hint, which a few large channels of the teacher rule.
    """
    return F.l1_loss(*hidden_pair(student, teacher, tap, project))


def cosine(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", project: nn.Module) -> Tensor:
    """The direction of the teacher's state: mean over rows of 1 - cos(project(s), t).

    Of a tap that reads "attention" it is attention transfer: half of the squared distance of the maps, each over its length (arXiv 1612.03928,
    equation 2). Needs: the teacher's state. Source: the loss of DistilBERT, arXiv 1910.01108, section 3. Siblings: hint, which also asks for
    the length.
    """
    return (1 - F.cosine_similarity(*hidden_pair(student, teacher, tap, project), dim=1)).mean()


def feature_kd(
    student: Outputs, teacher: Outputs, labels: Tensor, *, tap: str = "embedding", temperature: float = 1.0, project: nn.Module
) -> Tensor:
    """Softened cross-entropy of states: T^2 * mean_R sum_D p_T log(p_T / q_T), p, q the softmaxes over channels of t / T and project(s) / T.

    It is the cross-entropy less the teacher's entropy, which has no gradient, so that it is 0 at equality. Needs: the teacher's state.
    Siblings: kd, the same over classes; hint, which also sees small channels.
    """
    s, t = hidden_pair(student, teacher, tap, project)
    log_q, log_p = F.log_softmax(s / temperature, 1), F.log_softmax(t / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def simkd(student: Outputs, teacher: Outputs, labels: Tensor, *, tap: Literal["embedding"] = "embedding") -> Tensor:
    """What the teacher's last layer reads: mean over rows and channels of (s - t)^2, for a student that ends in that layer.

    Alone in the list it is all that the student learns from; labels and kd may stand beside it. Needs: the teacher's embedding, and
    `student.classifier: teacher`, which puts a projection and the teacher's last layer into the student: they are exported, quantized and
    counted. Source: arXiv 2203.14001, equation 4 (there over feature maps, before the mean). Siblings: hint, which keeps an own last layer.
    """
    return F.mse_loss(*hidden_pair(student, teacher, tap))
