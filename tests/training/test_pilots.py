"""What pilots may cost, and which rows score them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.io_spec import Outputs
from compress.tasks.task import task
from compress.training.batches import Batches, Rows
from compress.training.pilots import COST, FOLDS, Plan, arenas, plan_pilots


@pytest.mark.parametrize(
    ("total", "validation", "train", "plan"),
    [
        (10_000, 200, 900, Plan(4, 800, 0)),  # 8 % each, 32 % in all
        (700, 200, 900, Plan(4, 60, 0)),  # 8 % would be 56
        (600, 200, 900, Plan(3, 60, 0)),  # 210 steps are three pilots of 60
        (700, 199, 675, Plan(4, 60, 1)),  # a third of 675 rows is enough to choose by
        (2_000, 57, 300, Plan(4, 87, 2)),  # 0.35 * 2000 / (4 * 2)
        (1_000, 57, 300, Plan(2, 80, 2)),
    ],
)
def test_pilots_fit_into_their_share_of_the_training(total: int, validation: int, train: int, plan: Plan) -> None:
    assert plan_pilots(total, 4, validation=validation, train=train) == plan
    assert plan.rivals * max(1, plan.folds) * plan.steps <= COST * total


@pytest.mark.parametrize(
    ("total", "train", "why"),
    [
        (9_999, 199, "57 validation rows and 199 training rows are too few to choose by"),
        (
            600,
            300,
            "two pilots of 60 steps, each on 2 folds of the training rows because validation has 57, would cost more than 35 % of the 600 "
            "steps that they choose for",
        ),
    ],
)
def test_why_there_are_no_pilots(total: int, train: int, why: str) -> None:
    assert plan_pilots(total, 4, validation=57, train=train) == why


def test_folds_are_whole_inputs_and_groups_that_no_pilot_trains_on() -> None:
    """60 inputs with two rows each; inputs 0 to 9 are one group; 5 rows in other words, of which 3 are inputs of their own."""
    owner, labels = np.repeat(np.arange(60), 2), np.tile([0, 1], 60)
    groups = np.where(owner < 10, 0, 1 + owner)
    owners = np.concatenate([owner, [60, 61, 62, 0, 59]])
    text = np.arange(63)[:, None]
    rows = Rows({"text": text}, {"text": owners}, np.concatenate([labels, [-1] * 5]), np.zeros((1, 125, 2), np.float16))
    data: Any = SimpleNamespace(task=task("single_label"), split=lambda name: Sized(groups, labels))
    made = arenas(rows, Batches(rows, 8), Batches(rows, 8), Plan(2, 60, FOLDS), data=data)
    seen: list[set[int]] = []
    for arena in made:
        trained = set(arena.batches.groups.tolist())
        assert trained >= {60, 61, 62}
        scored: list[int] = []
        assert arena.marks(Memory(scored)).mean() == 0.5  # it says 0 to all
        assert not trained & set(scored) and len(set(scored)) == len(scored)
        assert len({*range(10)} & trained) in (0, 10) and len({*range(10)} & set(scored)) in (0, 10)
        seen.append(set(scored))
    assert set.union(*seen) == set(range(60)) and sum(map(len, seen)) == 60


class Sized:
    """A split of so many rows."""

    def __init__(self, clusters: np.ndarray, labels: np.ndarray) -> None:
        self.clusters, self.labels = clusters, labels

    def __len__(self) -> int:
        return len(self.labels)


class Memory(nn.Module):
    """Says 0 to every row, and remembers the inputs."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        self.seen += inputs["text"][:, 0].tolist()
        return Outputs(torch.tensor([1.0, 0.0]).repeat(len(rows["text"]), 1))
