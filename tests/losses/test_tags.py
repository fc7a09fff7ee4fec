"""Losses of tags: golden numbers with their derivation; what holds for each entry of LOSSES stands in test_logits.py."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from compress.io_spec import Outputs
from compress.losses.logits import kd
from compress.losses.tags import binary_cross_entropy, binary_kd


def test_binary_cross_entropy_golden_number():
    # logits [0, ln 3] -> p = 1/2, 3/4; tags [1, 0]: -(ln 1/2 + ln 1/4) / 2 = 1.5 ln 2
    student = Outputs(torch.tensor([[0.0, math.log(3)]]))
    labels = torch.tensor([[1, 0]])
    assert binary_cross_entropy(student, None, labels).item() == pytest.approx(1.5 * math.log(2), rel=1e-6)
    # weight 3 of the tag that is there: (3 ln 2 + 2 ln 2) / 2
    assert binary_cross_entropy(student, None, labels, positive_weight=3.0).item() == pytest.approx(2.5 * math.log(2), rel=1e-6)


def test_binary_kd_is_kd_of_each_tag_against_its_absence():
    # a sigmoid is the softmax of (logit, 0), so one tag's term is kd of two classes
    student, teacher = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.randn(7, 3)
    pairs = [Outputs(torch.stack([x.reshape(-1), torch.zeros(21)], 1)) for x in (student, teacher)]
    expected = kd(*pairs, torch.zeros(21, dtype=torch.int64), temperature=3.0)
    assert binary_kd(Outputs(student), Outputs(teacher), torch.zeros(7, 3), temperature=3.0).item() == pytest.approx(
        expected.item(), rel=1e-4
    )


def test_sure_teacher_and_student_give_finite_numbers():
    far = torch.tensor([[90.0, -90.0]])
    assert binary_kd(Outputs(-far), Outputs(far), torch.zeros(1, 2), temperature=1.0).item() == pytest.approx(
        softplus(torch.tensor(90.0)).item()
    )
