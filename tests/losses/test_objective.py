"""The weighted sum of a recipe's losses."""

import math

import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.logits import cross_entropy, kd
from compress.losses.objective import Objective, at_the_end, starting_scales, weight_at
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


def test_starting_scales_shrink_what_is_larger_than_the_term_of_labels_and_nothing_else():
    parts = {"weighted_cross_entropy": torch.tensor(2.0), "kd": torch.tensor(20.0), "dist": torch.tensor(1.0)}
    objective = Objective([Loss(name=name) for name in parts], counts=torch.ones(3))
    assert starting_scales(objective, parts) == {"kd": pytest.approx(0.1)}  # 2 / 20
    assert starting_scales(Objective([Loss(name="kd")]), {"kd": torch.tensor(20.0)}) == {}


def test_two_terms_of_one_loss_are_told_apart():
    losses = [Loss(name="kd", options={"temperature": t}) for t in (1.0, 4.0)]
    student, teacher, labels = Outputs(torch.randn(4, 3)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    total, parts = Objective(losses, scales={"kd 2": 0.5})(student, teacher, labels)
    expected = [kd(student, teacher, labels, temperature=t).item() for t in (1.0, 4.0)]
    assert parts == {"kd": pytest.approx(expected[0]), "kd 2": pytest.approx(expected[1])}
    assert total.item() == pytest.approx(expected[0] + 0.5 * expected[1])


@pytest.mark.parametrize(
    ("schedule", "end", "values"),
    [
        ("constant", 0.0, (2.0, 2.0, 2.0, 2.0)),
        ("linear", 1.0, (2.0, 1.9, 1.5, 1.0)),
        ("cosine", 0.0, (2.0, 1 + math.cos(math.pi / 10), 1.0, 0.0)),  # 2 * (1 + cos) / 2
        ("warmup", 0.0, (0.0, 1.0, 2.0, 2.0)),  # a tenth is half of the first fifth
    ],
)
def test_weight_goes_over_the_steps_as_the_schedule_says(schedule: str, end: float, values: tuple[float, ...]):
    loss = Loss(name="cross_entropy", weight=2.0, schedule=schedule, end_weight=end)
    assert [weight_at(loss, done) for done in (0.0, 0.1, 0.5, 1.0)] == pytest.approx(list(values))
    student, labels = Outputs(torch.zeros(1, 2)), torch.tensor([0])
    for done, value in zip((0.0, 0.1, 0.5, 1.0), values, strict=True):
        assert Objective([loss])(student, None, labels, done=done)[0].item() == pytest.approx(value * math.log(2), abs=1e-6)


def test_last_weights_stay_unless_none_would_be_left():
    fading, other = Loss(name="kd", schedule="linear"), Loss(name="cross_entropy", weight=0.5)
    assert [loss.weight for loss in at_the_end([fading, other])] == [0.0, 0.5]
    assert {loss.schedule for loss in at_the_end([fading, other])} == {"constant"}
    assert at_the_end([fading]) == [fading]


def test_projection_is_made_where_widths_differ_and_begins_the_same_each_time():
    losses = [Loss(name="hint"), Loss(name="cosine"), Loss(name="pkt")]
    same, made = Objective(losses, widths={"embedding": (4, 4)}), [Objective(losses, widths={"embedding": (3, 4)}) for _ in range(2)]
    assert list(same.parameters()) == []
    assert {name: tuple(p.shape) for name, p in made[0].named_parameters() if p.ndim == 2} == {
        "projections.hint.weight": (4, 3),
        "projections.cosine.weight": (4, 3),
    }
    assert all(torch.equal(a, b) for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True))
    weight = made[0].projections["hint"].weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(3))  # lengths and angles stay


def test_loss_of_class_weights_gets_the_counts():
    losses, student = [Loss(name="weighted_cross_entropy")], Outputs(torch.zeros(1, 2))
    total, _ = Objective(losses, with_teacher=False, counts=torch.tensor([30, 10]))(student, None, torch.tensor([1]))
    assert total.item() == pytest.approx(2 * math.log(2))  # 40 / (2 * 10)


def test_rows_without_an_answer_of_the_teacher_learn_from_labels_alone():
    student, teacher, labels = Outputs(torch.randn(4, 3, requires_grad=True)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    answered = torch.tensor([True, False, True, False])
    total, parts = Objective(LOSSES)(student, teacher, labels, answered=answered)
    kept = student.map(lambda x: x[answered]), teacher.map(lambda x: x[answered])
    assert parts["kd"].item() == pytest.approx(kd(*kept, labels[answered], temperature=3.0).item())
    assert parts["cross_entropy"].item() == pytest.approx(cross_entropy(student, None, labels).item())
    total.backward()
    assert student.logits.grad[3].abs().sum() == 0  # neither label nor answer


def test_batch_without_any_answer_has_no_term_of_the_teacher():
    student, teacher = Outputs(torch.randn(2, 3, requires_grad=True)), Outputs(torch.zeros(2, 3))
    total, parts = Objective([Loss(name="kd")])(student, teacher, torch.tensor([0, 1]), answered=torch.tensor([False, False]))
    total.backward()
    assert parts["kd"].item() == 0 and student.logits.grad.abs().sum() == 0


def test_learned_weight_grows_for_a_small_term_and_shrinks_for_a_large_one() -> None:
    # w loss + log(1 + 1 / w) is least where w (1 + w) = 1 / loss: of 2 at w = (sqrt(3) - 1) / 2, of 1/6 at w = 2
    student, labels = Outputs(torch.zeros(1, 2)), torch.zeros(1, dtype=torch.int64)
    terms = {"logit_mse": 2.0, "logit_l1": 1 / 6}
    objective = Objective([Loss(name=name, schedule="learned", weight=0.5) for name in terms], scales={"logit_mse": 2.0, "logit_l1": 1 / 6})
    teacher = Outputs(torch.tensor([[1.0, -1.0]]))  # both terms are 1 before they are scaled
    total, parts = objective(student, teacher, labels)
    assert total.item() == pytest.approx(sum(0.5 * (size + math.log(2)) for size in terms.values())) and parts["logit_mse"] == 1
    optimizer = torch.optim.SGD(objective.parameters(), lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        objective(student, teacher, labels)[0].backward()
        optimizer.step()
    assert objective.learned == pytest.approx({"logit_mse": (3**0.5 - 1) / 2, "logit_l1": 2.0}, rel=1e-3)


def test_learned_weights_are_kept_for_the_int8_student() -> None:
    loss = Loss(name="kd", schedule="learned")
    assert at_the_end([loss]) == [loss] and list(Objective([loss]).state_dict()) == ["doubts.kd"]
    assert Objective([Loss(name="kd")]).learned == {} and weight_at(loss, 0.7) == 1.0


def test_vectors_that_may_be_cut_are_taught_whole_and_cut():
    # the teacher at (1, 0, 0), the student at (0, 0, 1): 1 - cos is 1; cut to two numbers the student has none of them: 1; cut of (3, 4, 5): 1 - 3/5
    teacher = Outputs(torch.tensor([[1.0, 0.0, 0.0]]))
    one, two = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[3.0, 4.0, 5.0]])
    objective = Objective([Loss(name="vector_kd")], prefixes=[2])
    labels = torch.tensor([0])
    assert objective(Outputs(one), teacher, labels)[0].item() == pytest.approx(1)
    whole = 1 - 3 / math.sqrt(50)
    assert objective(Outputs(two), teacher, labels)[0].item() == pytest.approx((whole + 1 - 3 / 5) / 2)
    towers = Objective(
        [Loss(name="vector_kd")], towers=2, prefixes=[2]
    )  # each tower is cut by itself, so the zeros behind count for nothing
    both = [Outputs(torch.cat([x, x], 1)) for x in (two, teacher.logits)]
    assert towers(*both, labels)[0].item() == pytest.approx((whole + 1 - 3 / 5) / 2)
