"""Losses: golden numbers with their derivation, and what every entry of LOSSES must keep to."""

import math

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses import logits
from compress.losses.objective import needs_no_teacher
from compress.tables import LOSSES, resolve
from compress.tasks.task import task


def on_tensors(loss):
    """The loss as a function of the logits themselves."""
    return lambda student, teacher, labels, **options: loss(
        Outputs(student), None if teacher is None else Outputs(teacher), labels, **options
    )


cross_entropy, dist, dkd, kd, logit_mse = map(on_tensors, (logits.cross_entropy, logits.dist, logits.dkd, logits.kd, logits.logit_mse))
DISTILLING = [name for name in LOSSES if not needs_no_teacher(name)]


def draw(name: str = "kd", rows: int = 6, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of student and teacher, and labels of the task that the loss `name` is of."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, rows, classes, generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)
    if name in task("multi_label").losses:
        labels = torch.randint(2, (rows, classes), generator=generator)
    if name in task("regression").losses:
        labels = torch.randn(rows, classes, generator=generator)
    return logits[0].requires_grad_(), logits[1], labels


def without_labels(labels: torch.Tensor) -> torch.Tensor:
    return torch.full_like(labels, torch.nan if labels.is_floating_point() else -1)


@pytest.mark.parametrize("name", DISTILLING)
def test_loss_is_zero_at_equality_and_positive_elsewhere(name):
    student, teacher, labels = draw(name)
    loss = on_tensors(resolve(LOSSES[name]))
    assert loss(teacher.clone(), teacher, labels).item() == pytest.approx(0, abs=1e-6)
    assert loss(student, teacher, labels).item() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gives_the_teacher_no_gradient(name):
    student, teacher, labels = draw(name)
    teacher.requires_grad_()
    on_tensors(resolve(LOSSES[name]))(student, teacher, labels).backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_loss_does_not_depend_on_the_order_of_rows(name):
    student, teacher, labels = draw(name)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = on_tensors(resolve(LOSSES[name]))
    assert loss(student[order], teacher[order], labels[order]).item() == pytest.approx(loss(student, teacher, labels).item(), rel=1e-5)


@pytest.mark.parametrize("name", DISTILLING)
def test_loss_learns_from_unlabelled_rows(name):
    student, teacher, labels = draw(name)
    loss = on_tensors(resolve(LOSSES[name]))(student, teacher, without_labels(labels))
    assert torch.isfinite(loss) and loss.item() > 0


@pytest.mark.parametrize("name", [name for name in LOSSES if needs_no_teacher(name)])
def test_loss_on_labels_leaves_unlabelled_rows_out(name):
    student, _, labels = draw(name)
    loss = on_tensors(resolve(LOSSES[name]))
    masked = labels.clone()
    masked[2:] = without_labels(labels)[2:]
    assert loss(student, None, masked).item() == pytest.approx(loss(student[:2], None, labels[:2]).item())
    none = loss(student, None, without_labels(labels))
    none.backward()
    assert none.item() == 0 and student.grad.abs().sum() == 0


def test_kd_golden_number():
    # T = 2: teacher [2, 0] -> p = sigmoid(1) = 0.731059; student [0, 0] -> q = 0.5
    # 4 * (0.731059 ln(0.731059 / 0.5) + 0.268941 ln(0.268941 / 0.5)) = 4 * 0.1109441 = 0.4437764
    value = kd(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0]), temperature=2.0)
    assert value.item() == pytest.approx(0.4437764, rel=1e-5)


def test_kd_gradient_is_t_times_the_difference_of_softmaxes():
    # d/ds of T^2 mean KL = T (q - p) / R
    student, teacher, labels = draw()
    kd(student, teacher, labels, temperature=3.0).backward()
    expected = 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / len(labels)
    torch.testing.assert_close(student.grad, expected.detach())


def test_dkd_golden_number():
    # T = 1, label 0, student [0, 0, 0], teacher [ln 2, 0, ln 3]: p = (2, 1, 3) / 6, q = 1/3 each
    # target or not: p = (1/3, 2/3), q the same -> 0; among the others: (1/4, 3/4) against (1/2, 1/2)
    # = ln 2 - H(1/4, 3/4) = 0.693147 - 0.562335 = 0.130812; beta 4 -> 0.523248
    teacher = torch.tensor([[math.log(2), 0.0, math.log(3)]])
    value = dkd(torch.zeros(1, 3), teacher, torch.tensor([0]), temperature=1.0, alpha=7.0, beta=4.0)
    assert value.item() == pytest.approx(0.523248, rel=1e-4)


def test_dkd_with_weights_of_one_and_p_not_target_is_kd():
    # KL = binary KL + p(not target) * KL among the others (equation 4): for one row, set beta to p(not target)
    student, teacher, labels = draw(rows=1)
    rest = 1 - teacher.softmax(1)[0, labels[0]].item()
    assert dkd(student, teacher, labels, temperature=1.0, alpha=1.0, beta=rest).item() == pytest.approx(
        kd(student, teacher, labels, temperature=1.0).item(), rel=1e-4
    )


def test_dist_golden_number():
    # two rows whose softmaxes are swapped: rows correlate with -1 (1 - (-1) = 2), and so do columns: 1 * 2 + 1 * 2 = 4
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert dist(student, student.flip(1), torch.tensor([0, 1])).item() == pytest.approx(4.0, rel=1e-5)


def test_logit_mse_golden_number_ignores_a_shift():
    # student row [1, 3] has mean 2 -> [-1, 1]; teacher [10, 10] -> [0, 0]; mean of squares = 1
    assert logit_mse(torch.tensor([[1.0, 3.0]]), torch.tensor([[10.0, 10.0]]), torch.tensor([0])).item() == pytest.approx(1.0)
