"""Losses of places: what is ignored, what class weights do, and that places do not mix."""

from __future__ import annotations

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.pixels import pixel_cross_entropy, pixel_dice, pixel_kd

LABELS = torch.tensor([[[0, 1], [2, 0]], [[-1, -1], [-1, -1]]])  # of 2 classes: the third place of the first row is ignored


def logits(*places: tuple[float, float]) -> Outputs:
    return Outputs(torch.tensor([[float(number) for place in places for number in place]] * 2).requires_grad_())


def test_ignored_places_and_unlabelled_rows_are_seen_by_no_loss_on_labels() -> None:
    student = logits((0, 0), (0, 0), (5, -5), (0, 0))
    loss = pixel_cross_entropy(student, None, LABELS)
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)  # log 2 at each of the three places
    (loss + pixel_dice(student, None, LABELS)).backward()
    assert student.logits.grad is not None and torch.nonzero(student.logits.grad).tolist() == [[0, n] for n in (0, 1, 2, 3, 6, 7)]


def test_class_weights_are_of_places() -> None:
    student, counts = logits((0, 0), (0, 0), (0, 0), (0, 0)), torch.tensor([3, 1])
    rare = pixel_cross_entropy(student, None, LABELS, power=1.0, counts=counts)
    # w = 4 / (2 n): 2/3 and 2; places of class 0, 1, 0
    assert rare.item() == pytest.approx(0.6931 * (2 / 3 + 2 + 2 / 3) / 3, abs=1e-4)
    given = pixel_cross_entropy(student, None, LABELS, weights=[1.0, 4.0], counts=counts)
    assert given.item() == pytest.approx(0.6931 * (1 + 4 + 1) / 3, abs=1e-4)


def test_dice_is_the_mean_over_classes_whatever_their_size() -> None:
    student = logits((60, 0), (60, 0), (0, 60), (60, 0))  # class 0 everywhere: of it 2 right of 3 told and 2 wanted, of class 1 none of 1
    assert pixel_dice(student, None, LABELS).item() == pytest.approx(((1 - 4 / 5) + 1) / 2, abs=1e-4)


def test_all_places_learn_from_the_teacher() -> None:
    teacher = logits((1, 0), (0, 1), (3, 0), (0, 3))
    student = logits((0, 0), (0, 0), (0, 0), (0, 0))
    pixel_kd(student, teacher, LABELS).backward()
    assert student.logits.grad is not None and (student.logits.grad != 0).all()
