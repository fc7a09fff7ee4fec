"""Losses on hidden states: golden numbers with their derivation; what all keep to is in test_every_loss."""

import math

import pytest
import torch
from torch import nn

from compress.errors import CompressError
from compress.io_spec import Outputs
from compress.losses import features

STUDENT, TEACHER = Outputs(None, torch.tensor([[1.0, 0.0]])), Outputs(None, torch.tensor([[0.0, 3.0]]))
LABELS = torch.tensor([0])


@pytest.mark.parametrize(
    ("loss", "golden"),
    [
        (features.hint, (1 + 9) / 2),  # mean over two channels of (1 - 0)^2 and (0 - 3)^2
        (features.hint_l1, (1 + 3) / 2),
        (features.cosine, 1.0),  # at right angles
    ],
)
def test_golden_numbers(loss, golden: float):
    assert loss(STUDENT, TEACHER, LABELS, project=nn.Identity()).item() == pytest.approx(golden)


def test_simkd_golden_number():
    assert features.simkd(STUDENT, TEACHER, LABELS).item() == pytest.approx((1 + 9) / 2)


def test_feature_kd_golden_number():
    # T = 2, t / T = (0, ln 3) -> p = (1/4, 3/4); q even: 4 * (ln 2 - H(1/4, 3/4)) = 4 * (0.693147 - 0.562335) = 0.523248
    teacher = Outputs(None, torch.tensor([[0.0, 2 * math.log(3)]]))
    value = features.feature_kd(Outputs(None, torch.ones(1, 2)), teacher, LABELS, temperature=2.0, project=nn.Identity())
    assert value.item() == pytest.approx(0.523248, rel=1e-5)


def test_loss_compares_what_the_projection_gives():
    project = nn.Linear(2, 2)
    nn.init.zeros_(project.weight)
    nn.init.constant_(project.bias, 3.0)  # (3, 3) against (0, 3)
    assert features.hint(STUDENT, TEACHER, LABELS, project=project).item() == pytest.approx(9 / 2)


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (STUDENT, Outputs(None), "the teacher gives no 'embedding'"),
        (Outputs(None), TEACHER, "the student gives no 'embedding'"),
        (
            STUDENT,
            Outputs(None, torch.ones(1, 4, 2)),
            r"the teacher's 'embedding' is \(1, 4, 2\), and a loss reads one row of numbers a row",
        ),
    ],
)
def test_state_that_is_not_there_is_told(student: Outputs, teacher: Outputs, words: str):
    with pytest.raises(CompressError, match=words):
        features.cosine(student, teacher, LABELS, project=nn.Identity())
