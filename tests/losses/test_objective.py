"""The weighted sum of a recipe's losses."""

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.logits import cross_entropy, kd
from compress.losses.objective import Objective, starting_scales
from compress.recipe.sections import Loss

LOSSES = [Loss(name="cross_entropy", weight=0.5), Loss(name="kd", weight=2.0, options={"temperature": 3.0})]


def test_objective_is_the_weighted_sum():
    student, teacher, labels = Outputs(torch.randn(4, 3)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    total, parts = Objective(LOSSES)(student, teacher, labels)
    expected = 0.5 * cross_entropy(student, None, labels) + 2.0 * kd(student, teacher, labels, temperature=3.0)
    assert total.item() == pytest.approx(expected.item())
    assert set(parts) == {"cross_entropy", "kd"}


def test_objective_without_teacher_keeps_the_labels_alone():
    student, labels = Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    total, parts = Objective(LOSSES, with_teacher=False)(student, None, labels)
    assert set(parts) == {"cross_entropy"}
    assert total.item() == pytest.approx(0.5 * cross_entropy(student, None, labels).item())


def test_scales_multiply_the_weights():
    student, teacher, labels = Outputs(torch.randn(4, 3)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    total, _ = Objective(LOSSES, scales={"kd": 0.1})(student, teacher, labels)
    expected = 0.5 * cross_entropy(student, None, labels) + 0.2 * kd(student, teacher, labels, temperature=3.0)
    assert total.item() == pytest.approx(expected.item())


def test_labels_of_mixed_inputs_are_mixed_as_probabilities():
    student, teacher, labels, others = Outputs(torch.randn(4, 3)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1]), [2, 1, 0, -1]
    total, parts = Objective(LOSSES)(student, teacher, labels, (torch.tensor(others), 0.3))
    p = torch.tensor([[0.3, 0, 0.7], [0, 1, 0], [0.7, 0, 0.3]])  # row 3 is unlabelled
    assert parts["cross_entropy"].item() == pytest.approx(-(p * student.logits[:3].log_softmax(1)).sum(1).mean().item())
    assert parts["kd"].item() == pytest.approx(kd(student, teacher, labels, temperature=3.0).item())  # reads no labels
    assert total.item() == pytest.approx(0.5 * parts["cross_entropy"].item() + 2.0 * parts["kd"].item())


def test_starting_scales_shrink_what_is_larger_than_the_cross_entropy_and_nothing_else():
    parts = {"cross_entropy": torch.tensor(2.0), "kd": torch.tensor(20.0), "dist": torch.tensor(1.0)}
    assert starting_scales(parts) == {"kd": pytest.approx(0.1)}  # 2 / 20
    assert starting_scales({"kd": torch.tensor(20.0)}) == {}
