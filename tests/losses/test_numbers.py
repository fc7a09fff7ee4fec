"""Losses of numbers: golden numbers with their derivation; what holds for each entry of LOSSES stands in test_logits.py."""

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.numbers import absolute_error, number_kd, squared_error

STUDENT = Outputs(torch.tensor([[1.0, 4.0], [0.0, 0.0]]))
LABELS = torch.tensor([[2.0, 2.0], [torch.nan, torch.nan]])  # errors 1 and 2; the second row has none


def test_squared_error_golden_number():
    assert squared_error(STUDENT, None, LABELS).item() == (1 + 4) / 2


def test_absolute_error_golden_number():
    assert absolute_error(STUDENT, None, LABELS).item() == (1 + 2) / 2
    # beta 2: errors within it cost e^2 / 4 + 1
    assert absolute_error(STUDENT, None, LABELS, beta=2.0).item() == pytest.approx((1 / 4 + 1 + 1 + 1) / 2)


def test_absolute_error_has_no_step_at_beta():
    inner, outer = (absolute_error(Outputs(torch.tensor([[e]])), None, torch.zeros(1, 1), beta=0.5).item() for e in (0.4999, 0.5001))
    assert inner == pytest.approx(outer, abs=3e-4)


def test_number_kd_golden_number():
    teacher = Outputs(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
    assert number_kd(STUDENT, teacher, LABELS).item() == (0 + 9 + 4 + 0) / 4
