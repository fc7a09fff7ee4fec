"""Losses on logits: golden numbers with their derivation, and identities between them; what all keep to is in test_every_loss."""

import math

import pytest
import torch

from compress.errors import RecipeError
from compress.io_spec import Outputs
from compress.losses import logits


def on_tensors(loss):
    """The loss as a function of the logits themselves."""
    return lambda student, teacher, labels, **options: loss(
        Outputs(student), None if teacher is None else Outputs(teacher), labels, **options
    )


dist, dkd, kd, logit_mse = map(on_tensors, (logits.dist, logits.dkd, logits.kd, logits.logit_mse))
LN2 = math.log(2)


def draw(rows: int = 6, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, rows, classes, generator=generator)
    return logits[0].requires_grad_(), logits[1], torch.randint(classes, (rows,), generator=generator)


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


def test_kd_tends_to_half_of_the_square_of_logits():
    # KL of two softmaxes of small logits is half the variance of their difference: T^2 KL -> 1/2 mean_K of (s - t)^2, means taken off
    student, teacher, labels = draw()
    limit = 0.5 * logit_mse(student, teacher, labels).item()
    assert kd(student.double(), teacher.double(), labels, temperature=1e3).item() == pytest.approx(limit, rel=2e-3)


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


COUNTS = torch.tensor([30, 10, 0])
EVEN = torch.zeros(2, 3)  # -log p = ln 3 whatever the label


def test_weighted_cross_entropy_golden_number():
    # 40 rows, 30 of label 0 and 10 of label 1, power 1: w ~ (1/30, 1/10), mean weight of a row (30/30 + 10/10) / 40 = 1/20
    # -> w = (2/3, 2, 0); labels 0 and 1: (2/3 + 2) / 2 * ln 3 = 4/3 ln 3
    value = on_tensors(logits.weighted_cross_entropy)(EVEN, None, torch.tensor([0, 1]), counts=COUNTS)
    assert value.item() == pytest.approx(4 / 3 * math.log(3))


def test_weights_of_power_zero_are_one_and_the_mean_weight_of_a_training_row_is_always_one():
    torch.testing.assert_close(logits.class_weights(COUNTS, None, 0.0), torch.tensor([1.0, 1.0, 0.0]))
    for power in (0.3, 0.5, 1.0, 2.0):
        assert (logits.class_weights(COUNTS, None, power) * COUNTS).sum().item() == pytest.approx(40)


def test_given_weights_are_taken_as_they_are_and_must_be_as_many_as_labels():
    # labels 0 and 2: (1 + 5) / 2 * ln 3
    value = on_tensors(logits.weighted_cross_entropy)(EVEN, None, torch.tensor([0, 2]), counts=COUNTS, weights=[1.0, 2.0, 5.0])
    assert value.item() == pytest.approx(3 * math.log(3))
    with pytest.raises(RecipeError, match="2 weights are given, but the data has 3 labels"):
        logits.class_weights(COUNTS, [1.0, 2.0], 1.0)


def test_focal_golden_number():
    # p of the label 1/3, gamma 2: (2/3)^2 ln 3
    value = on_tensors(logits.focal)(EVEN[:1], None, torch.tensor([1]), counts=COUNTS)
    assert value.item() == pytest.approx(4 / 9 * math.log(3))


def test_focal_of_gamma_zero_is_weighted_cross_entropy():
    student, _, labels = draw(classes=3)
    options = {"counts": COUNTS, "power": 0.5}
    expected = on_tensors(logits.weighted_cross_entropy)(student, None, labels, **options)
    assert on_tensors(logits.focal)(student, None, labels, gamma=0.0, **options).item() == pytest.approx(expected.item())


def test_focal_of_a_sure_and_right_student_has_a_finite_gradient():
    student = torch.tensor([[200.0, 0.0]], requires_grad=True)
    on_tensors(logits.focal)(student, None, torch.tensor([0]), gamma=0.5, counts=COUNTS[:2]).backward()
    assert torch.isfinite(student.grad).all()


def test_standardised_kd_golden_number_does_not_change_with_size_and_place_of_logits():
    # two classes: each row standardises to (1, -1) or (-1, 1); T = 2: p = sigmoid(1) = 0.731059, q = 1 - p
    # 4 * (2 p - 1) * ln(p / q) = 4 * 0.462117 * 1 = 1.848469
    loss = on_tensors(logits.kd_standardised)
    value = loss(torch.tensor([[0.0, 3.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(1.848469, rel=1e-5)
    assert loss(torch.tensor([[7.0, 700.0]]), torch.tensor([[0.2, 0.1]]), torch.tensor([0])).item() == pytest.approx(1.848469, rel=1e-4)


def test_logit_l1_golden_number_ignores_a_shift():
    # student row [1, 3] -> [-1, 1]; teacher [10, 14] -> [-2, 2]: |1| and |-1|
    value = on_tensors(logits.logit_l1)(torch.tensor([[1.0, 3.0]]), torch.tensor([[10.0, 14.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(1.0)


def test_teacher_label_golden_number_heeds_the_teacher_and_not_the_label():
    # the teacher answers 1, where the student has 1/4 of 4 classes: ln 4
    value = on_tensors(logits.teacher_label)(torch.zeros(1, 4), torch.tensor([[0.0, 9.0, 1.0, 2.0]]), torch.tensor([3]))
    assert value.item() == pytest.approx(2 * LN2)
