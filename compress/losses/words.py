"""Losses of one label for each word: `f(student, teacher, labels, **options) -> scalar` on logits (R, W K), K behind K.

labels: (R, W) int64 places among the K labels, K where a row has no such word, -1 throughout where it is unlabelled. Logits are 0 where there is no
word, and no loss sees such a place.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from compress.io_spec import Outputs


def token_cross_entropy(student: Outputs, teacher: Outputs | None, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Hard labels: mean over labelled words of -log q[label], with q = softmax of the word's logits.

    `smoothing` spreads that share of each label over all of them. Needs: labels of words.
    """
    logits = student.logits.unflatten(1, (labels.shape[1], -1)).flatten(0, 1)  # (R W, K)
    wanted = labels.flatten()
    known = (wanted >= 0) & (wanted < logits.shape[1])
    parts = F.cross_entropy(logits, wanted.where(known, 0), label_smoothing=smoothing, reduction="none")
    return (parts * known).sum() / known.sum().clamp(min=1)


def token_kd(student: Outputs, teacher: Outputs, labels: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Soft labels: T^2 * mean over words of KL(p || q), with p, q the teacher's and student's softmax of a word's logits at temperature T.

    arXiv 1503.02531, section 2, word by word. Words are those of the teacher, labelled or not. Needs: the teacher's logits.
    """
    s, t = (x.unflatten(1, (labels.shape[1], -1)) for x in (student.logits, teacher.logits.detach()))  # (R, W, K)
    there = (t != 0).any(2)
    log_q, log_p = F.log_softmax(s / temperature, 2), F.log_softmax(t / temperature, 2)
    parts = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(2)
    return temperature**2 * (parts * there).sum() / there.sum().clamp(min=1)
