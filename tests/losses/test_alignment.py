"""Losses on how two spaces lie to each other: golden numbers with their derivation; what all keep to is in test_every_loss."""

from __future__ import annotations

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses import alignment

LABELS = torch.zeros(4, dtype=torch.int64)


def drawn(width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(8, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", [alignment.cka, alignment.procrustes])
def test_spaces_that_differ_by_a_turn_a_shift_and_a_scale_are_equal(loss) -> None:
    turn = torch.linalg.qr(drawn(8, 1))[0][:5]  # (5, 8): a turn into a wider space
    student, teacher = drawn(5), 3 * drawn(5) @ turn + 2
    assert loss(Outputs(None, student), Outputs(None, teacher), LABELS).item() == pytest.approx(0, abs=1e-5)
    assert loss(Outputs(None, student), Outputs(None, drawn(8, 2)), LABELS).item() > 0.1


def test_cka_golden_number() -> None:
    # centred rows (1, 0), (-1, 0), (0, 1), (0, -1): K = x x^T has <K, K> = 8; the teacher's (1), (-1), (1), (-1): <L, L> = 16
    # <K, L> = |s^T t|^2 = 4 + 4 = 8: 1 - 8 / sqrt(8 * 16)
    student, teacher = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), torch.tensor([[1.0], [-1], [1], [-1]])
    value = alignment.cka(Outputs(None, student), Outputs(None, teacher), LABELS)
    assert value.item() == pytest.approx(1 - 8 / 128**0.5, rel=1e-5)


def test_procrustes_golden_number() -> None:
    # the same rows, over their lengths (both 2): s^T t = (2, 2) / 4, whose only singular value is 1 / sqrt(2)
    student, teacher = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), torch.tensor([[1.0], [-1], [1], [-1]])
    value = alignment.procrustes(Outputs(None, student), Outputs(None, teacher), LABELS)
    assert value.item() == pytest.approx(1 - 0.5**0.5, rel=1e-5)


def test_affinity_is_of_the_two_states_that_are_named() -> None:
    # T = 1; the teacher's image of row i is at its text (cosines 1 and 0): p = (e, 1) / (1 + e); the student's lie all alike: q = 1/2
    # KL = log 2 + sum p log p = 0.693147 - 0.582203, each way
    plane = torch.eye(2)
    teacher = Outputs(None, None, {"image": plane, "text": 5 * plane})
    student = Outputs(None, None, {"image": torch.ones(2, 3), "text": torch.ones(2, 3)})
    value = alignment.affinity(student, teacher, LABELS[:2], tap="image", other="text", temperature=1.0)
    assert value.item() == pytest.approx(0.110944, rel=1e-4)
    swapped = Outputs(None, None, {"image": teacher.taps["image"], "text": plane.flip(0)})
    assert alignment.affinity(swapped, teacher, LABELS[:2], tap="image", other="text").item() > 1
    assert alignment.affinity(swapped, teacher, LABELS[:2], tap="image", other="image").item() == pytest.approx(0, abs=1e-6)
