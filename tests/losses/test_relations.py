"""Losses on relations: golden numbers with their derivation; what all keep to is in test_every_loss."""

import math

import pytest
import torch
from torch import Tensor, nn

from compress.io_spec import Outputs
from compress.losses import relations

LABELS = torch.zeros(3, dtype=torch.int64)


def states(*rows: list[float]) -> Outputs:
    return Outputs(None, torch.tensor(rows))


def test_rkd_distance_golden_number():
    # on a line at 0, 1, 3: distances 1, 2, 3 over their mean 2: 0.5, 1, 1.5; at 0, 1, 2: 1, 1, 2 over 4/3: 0.75, 0.75, 1.5
    # pairs (0,1), (0,2), (1,2): student 0.5, 1.5, 1; teacher 0.75, 1.5, 0.75; squares / 2: 0.03125, 0, 0.03125; mean 0.0208333
    value = relations.rkd_distance(states([0.0], [1.0], [3.0]), states([0.0], [1.0], [2.0]), LABELS)
    assert value.item() == pytest.approx(0.0625 / 3, rel=1e-4)


def test_rkd_angle_golden_number():
    # a triangle of 60 degrees (all cosines 1/2) against one on a line with the middle row between: cosines 1, -1 and 1
    # differences 1/2, 3/2, 1/2, each twice: (1/8 + 1 + 1/8) / 3
    student = states([0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2])
    value = relations.rkd_angle(student, states([0.0, 0.0], [1.0, 0.0], [2.0, 0.0]), LABELS)
    assert value.item() == pytest.approx(1.25 / 3, rel=1e-5)


def test_rkd_angle_looks_at_so_many_rows():
    student, teacher = (Outputs(None, torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))) for seed in (0, 1))
    first = (Outputs(None, x.embedding[:5]) for x in (student, teacher))
    assert torch.equal(relations.rkd_angle(student, teacher, LABELS, most=5), relations.rkd_angle(*first, LABELS))


def test_similarity_golden_number():
    # rows (1, 0), (0, 1): g is the unit matrix; rows (1, 0), (1, 0): g = 1 / sqrt(2) everywhere
    # of 4 pairs: 2 (1 - 0.707107)^2 + 2 * 0.5 = 1.171573, over 4
    value = relations.similarity(states([1.0, 0.0], [0.0, 1.0]), states([1.0, 0.0], [1.0, 0.0]), LABELS)
    assert value.item() == pytest.approx((2 * (1 - math.sqrt(0.5)) ** 2 + 1) / 4)


def test_pkt_golden_number():
    # teacher: row 0 at right angles to 1, opposite to 2, and 1 at right angles to 2: k = 1/2, 0 and 1/2
    # -> p_0 = (1, 0), p_1 = (1/2, 1/2), p_2 = (0, 1); student: all alike, q = 1/2: ln 2, 0, ln 2
    teacher = states([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])
    value = relations.pkt(states([1.0, 1.0], [2.0, 2.0], [3.0, 3.0]), teacher, LABELS)
    assert value.item() == pytest.approx(2 / 3 * math.log(2), rel=1e-5)


def test_contrastive_golden_number():
    # T = 1, teacher's rows at right angles; the student has them swapped: each sees (0, 1): -log(1 / (1 + e)) = 1.313262
    student, teacher = states([0.0, 1.0], [1.0, 0.0]), states([1.0, 0.0], [0.0, 1.0])
    value = relations.contrastive(student, teacher, LABELS, temperature=1.0, project=nn.Identity())
    assert value.item() == pytest.approx(1.313262, rel=1e-5)


@pytest.mark.parametrize("loss", [relations.rkd_distance, relations.rkd_angle, relations.similarity, relations.pkt])
def test_relations_do_not_change_with_a_turn_and_a_scale(loss):
    state = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    turn, _ = torch.linalg.qr(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))  # (5, 3): to another width

    def against(other: Tensor) -> float:
        return loss(Outputs(None, other), Outputs(None, state), LABELS).item()

    assert against(7 * state @ turn.T) == pytest.approx(0, abs=1e-5)
    assert against(state.flip(1) ** 2) > 1e-3
