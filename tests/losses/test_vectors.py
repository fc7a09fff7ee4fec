"""Losses of vectors: golden numbers with their derivation; what all keep to is in test_every_loss."""

import math

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.vectors import label_contrast, vector_kd, vector_neighbours


def vectors(*rows: list[float]) -> Outputs:
    return Outputs(torch.tensor(rows))


def test_label_contrast_golden_number():
    # rows 0 and 1 are alike and the same, row 2 is at right angles: each sees (1, 0) / T, T = 1: -log(e / (e + 1)) = 0.313262; row 2 has no like
    student = vectors([2.0, 0.0], [5.0, 0.0], [0.0, 1.0])
    value = label_contrast(student, None, torch.tensor([4, 4, 1]), temperature=1.0)
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


def test_label_contrast_of_a_batch_without_likes_is_0_with_a_gradient_of_0():
    student = Outputs(torch.randn(3, 2, requires_grad=True))
    value = label_contrast(student, None, torch.tensor([0, 1, -1]))
    value.backward()
    assert value.item() == 0 and not student.logits.grad.any()


def test_vector_kd_golden_number_does_not_see_lengths():
    # the first row at 60 degrees, the second the same direction: (1 - 1/2 + 0) / 2
    value = vector_kd(vectors([0.5, math.sqrt(3) / 2], [0.0, 9.0]), vectors([7.0, 0.0], [0.0, 1.0]), torch.zeros(2))
    assert value.item() == pytest.approx(0.25, rel=1e-5)


def test_vector_neighbours_golden_number():
    # teacher's rows at right angles, T = 1: p = (e, 1) / (1 + e); the student swapped: q = (1, e) / (1 + e); KL = (p_0 - p_1) * 1 = (e - 1) / (e + 1)
    value = vector_neighbours(vectors([0.0, 1.0], [1.0, 0.0]), vectors([1.0, 0.0], [0.0, 1.0]), torch.zeros(2), temperature=1.0)
    assert value.item() == pytest.approx((math.e - 1) / (math.e + 1), rel=1e-5)
