"""Losses of words: places without a word are seen by none of them, and the mean is over words, not over rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.words import token_cross_entropy, token_kd

# two words of two labels; the second row has one word, so its second place holds 0 in the teacher and label 2
STUDENT = Outputs(torch.tensor([[1.0, 0, 0, 2], [3, 0, 5, -5]], requires_grad=True))
TEACHER = Outputs(torch.tensor([[0.0, 1, 2, 0], [1, 0, 0, 0]]))
LABELS = torch.tensor([[0, 1], [1, 2]])


def log_p(a: float, b: float) -> np.ndarray:
    raw = np.array([a, b])
    return raw - np.log(np.exp(raw).sum())


def test_cross_entropy_is_the_mean_over_labelled_words() -> None:
    expected = -np.mean([log_p(1, 0)[0], log_p(0, 2)[1], log_p(3, 0)[1]])
    assert token_cross_entropy(STUDENT, None, LABELS).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_spreads_a_share_of_the_label() -> None:
    log_q = [log_p(1, 0), log_p(0, 2), log_p(3, 0)]
    expected = np.mean([-0.9 * row[k] - 0.1 * row.mean() for row, k in zip(log_q, (0, 1, 1), strict=True)])
    assert token_cross_entropy(STUDENT, None, LABELS, smoothing=0.1).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("labels", [LABELS, torch.full((2, 2), -1)])
def test_kd_is_the_mean_over_the_teachers_words_labelled_or_not(labels: torch.Tensor) -> None:
    pairs = [((0, 1), (1, 0)), ((2, 0), (0, 2)), ((1, 0), (3, 0))]
    expected = 4 * np.mean([np.sum(np.exp(log_p(a / 2, b / 2)) * (log_p(a / 2, b / 2) - log_p(c / 2, d / 2))) for (a, b), (c, d) in pairs])
    loss = token_kd(STUDENT, TEACHER, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, STUDENT.logits)
    assert not gradient[1, 2:].any() and gradient[:, :2].any()
