"""The weighted sum of a recipe's losses."""

import pytest
import torch

from compress.losses.logits import cross_entropy, kd
from compress.losses.objective import Objective
from compress.recipe import Loss

LOSSES = [Loss(name="cross_entropy", weight=0.5), Loss(name="kd", weight=2.0, options={"temperature": 3.0})]


def test_objective_is_the_weighted_sum():
    student, teacher, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, -1])
    total, parts = Objective(LOSSES)(student, teacher, labels)
    expected = 0.5 * cross_entropy(student, None, labels) + 2.0 * kd(student, teacher, labels, temperature=3.0)
    assert total.item() == pytest.approx(expected.item())
    assert set(parts) == {"cross_entropy", "kd"}


def test_objective_without_teacher_keeps_the_labels_alone():
    student, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, -1])
    total, parts = Objective(LOSSES, with_teacher=False)(student, None, labels)
    assert set(parts) == {"cross_entropy"}
    assert total.item() == pytest.approx(0.5 * cross_entropy(student, None, labels).item())
