"""Losses of towers: golden numbers with their derivation; what all keep to is in test_every_loss."""

import math

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.towers import tower_affinity, tower_contrast, tower_neighbours


def pairs(*rows: list[float]) -> Outputs:
    """(R, 4): two towers of two numbers."""
    return Outputs(torch.tensor(rows))


def test_tower_contrast_golden_number_is_of_pairs_and_not_of_one_tower():
    # image vectors (1, 0), (0, 1), texts swapped: each query sees its own at cosine 0 and the other at 1, T = 1: -log(1 / (1 + e)) = 1.313262
    student = pairs([1.0, 0.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0])
    value = tower_contrast(student, None, torch.tensor([0, 1]), towers=2, temperature=1.0)
    assert value.item() == pytest.approx(math.log(1 + math.e), rel=1e-5)


def test_tower_contrast_takes_rows_of_one_label_for_each_others_likes():
    # the same vectors, of one label: the mean of -log softmax at cosine 0 and at cosine 1: log(1 + e) - 1/2 = 0.813262
    student = pairs([1.0, 0.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0])
    value = tower_contrast(student, None, torch.tensor([5, 5]), towers=2, temperature=1.0)
    assert value.item() == pytest.approx(math.log(1 + math.e) - 0.5, rel=1e-5)


def test_tower_affinity_golden_number_lets_towers_turn_together():
    # teacher's pairs at cosine 1 and others at 0: p = (e, 1) / (1 + e); the student's swapped, q = (1, e) / (1 + e): KL = (e - 1) / (e + 1)
    teacher = pairs([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0])
    swapped = pairs([1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0])
    turned = pairs([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0])
    labels = torch.zeros(2, dtype=torch.int64)
    found = [tower_affinity(student, teacher, labels, towers=2, temperature=1.0).item() for student in (swapped, turned)]
    assert found == pytest.approx([(math.e - 1) / (math.e + 1), 0], abs=1e-6)


def test_tower_neighbours_holds_each_tower_to_the_other_one_of_the_teacher():
    # the student's towers turned together are no queries for the teacher's galleries: as swapped above, in both directions
    teacher = pairs([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0])
    turned = pairs([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0])
    value = tower_neighbours(turned, teacher, torch.zeros(2, dtype=torch.int64), towers=2, temperature=1.0)
    assert value.item() == pytest.approx((math.e - 1) / (math.e + 1), rel=1e-5)
