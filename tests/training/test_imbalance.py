"""Rare labels: how often they are drawn, and what the loss on labels sees of the odds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.recipe.sections import Loss
from compress.tasks.task import task
from compress.training.batches import Batches, Rows, even_odds
from compress.training.imbalance import against_imbalance


def rows_of(labels: list[int] | np.ndarray, owners: np.ndarray | None = None) -> Rows:
    count = len(labels)
    inputs = {"text": np.zeros((count, 2), np.int64)}
    return Rows(inputs, {"text": np.arange(count) if owners is None else owners}, np.asarray(labels, np.int32))


def data_of(how: str, name: str = "single_label", labels: tuple[str, ...] = ("a", "b")) -> SimpleNamespace:
    return SimpleNamespace(report={"imbalance": how}, task=task(name), labels=list(labels))


def test_each_label_is_as_likely_and_unlabelled_inputs_keep_their_share() -> None:
    # four labelled inputs of six share 4 / 6, a third of it for each of the three of label 0 together and the one of label 1: 2 / 6 each
    odds = even_odds(np.array([0, 0, 0, 1, -1, -1]), np.arange(6))
    assert odds.tolist() == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6])


def test_an_input_counts_for_its_rarest_label() -> None:
    # input 0 has rows of labels 0 and 1, of which 1 is the rarer; inputs 1 and 2 have label 0
    assert even_odds(np.array([0, 1, 0, 0]), np.array([0, 0, 1, 2])).tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])


def test_batches_draw_rare_labels_as_often() -> None:
    labels = np.array([0] * 980 + [1] * 20)
    batches = Batches(against_imbalance(rows_of(labels), data_of("batches")), 50, seed=1)
    drawn = np.concatenate([batch.labels.numpy() for epoch in range(2) for batch in batches.epoch(epoch)])
    assert len(drawn) == 2000
    assert abs(drawn.mean() - 0.5) < 4 * 0.5 / len(drawn) ** 0.5  # four standard errors
    again = [batch.index.tolist() for batch in batches.epoch(1, first_step=3)]
    assert again == [batch.index.tolist() for batch in batches.epoch(1)][3:]  # a resumed run sees the same


def test_validation_is_never_drawn_by_odds() -> None:
    batches = Batches(against_imbalance(rows_of([0, 0, 1]), data_of("batches")), 2, shuffle=False)
    assert np.concatenate([batch.index for batch in batches.epoch(0)]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "loss", "labels"),
    [
        ("single_label", "cross_entropy", np.array([0] * 50 + [1] * 1)),
        ("multi_label", "binary_cross_entropy", np.array([[1, 0]] * 50 + [[0, 1]], np.int8)),
    ],
)
def test_where_inputs_tell_nothing_all_answers_are_alike_against_the_odds(name: str, loss: str, labels: np.ndarray) -> None:
    """Equal logits are where the adjusted loss is least: its gradient there is nearly zero, as it is not without the shift."""
    shift = torch.from_numpy(task(name).shift(labels, ["a", "b"]).astype(np.float32))
    gradients = []
    for given in (shift, None):
        logits = torch.zeros(len(labels), 2, requires_grad=True)
        total, _ = Objective([Loss(name=loss)], with_teacher=False)(
            Outputs(logits), None, torch.from_numpy(labels.astype(np.int64)), shift=given
        )
        total.backward()
        gradients.append(logits.grad.sum(0).abs().max().item())
    assert gradients[0] < 0.01 < 0.2 < gradients[1]


def test_teacher_terms_see_the_logits_as_they_are() -> None:
    objective = Objective([Loss(name="cross_entropy"), Loss(name="kd")])
    student, teacher, labels = Outputs(torch.randn(4, 3)), Outputs(torch.randn(4, 3)), torch.tensor([0, 1, 2, -1])
    plain, shifted = (objective(student, teacher, labels, shift=shift)[1] for shift in (None, torch.tensor([3.0, 0.0, -3.0])))
    assert plain["kd"] == shifted["kd"] and plain["cross_entropy"] != shifted["cross_entropy"]


def test_rows_carry_what_their_batches_need() -> None:
    labels = np.array([0, 0, 0, 1])
    assert against_imbalance(rows_of(labels), data_of("none")).strata is None
    adjusted = against_imbalance(rows_of(labels), data_of("logits"))
    # log 3.5 and log 1.5, less their mean: half of log (3.5 / 1.5) either way
    assert adjusted.shift.tolist() == pytest.approx([0.42365, -0.42365], abs=1e-5)
    batch = Batches(adjusted, 4).collect(np.arange(4))
    assert batch.shift.tolist() == pytest.approx([0.42365, -0.42365], abs=1e-5)
