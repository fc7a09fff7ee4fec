"""Short trainings that choose a student's losses: how many there may be, of how many steps, and on which rows they are scored.

Where validation has too few rows to choose by, inputs of the training split are held out in turn. All pilots together take at most COST of
the training that they choose for, so a short training has none: then the recipe's own losses stay, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from compress.data.prepared import PreparedData
from compress.data.splits import deal
from compress.tasks.labels import known
from compress.training.batches import Batches, Rows
from compress.training.loop import predict
from compress.training.views import Views

COST = 0.35  # of the steps of one training, which all pilots share
STEPS, SHARE = 60, 0.08  # of a pilot: fewer tell nothing, and no more than that share of a training's is needed
FEW_ROWS = 200  # labelled rows, of which fewer do not choose
FOLDS = 3  # parts of the training split, of which so many are held out in turn that FEW_ROWS are scored


@dataclass(frozen=True)
class Plan:
    """How many lists of losses compete, in how many steps each, and on how many folds (0: all rows train, and validation scores)."""

    rivals: int
    steps: int
    folds: int


@dataclass(frozen=True)
class Arena:
    """What pilots train on, and how good a student's answers (n,) are on rows that it has not seen."""

    batches: Batches
    marks: Callable[[nn.Module], np.ndarray]


def plan_pilots(total: int, rivals: int, *, validation: int, train: int) -> Plan | str:
    """The pilots for a training of `total` steps with so many labelled rows in each split; or why there are none."""
    folds = 0 if validation >= FEW_ROWS else max(1, -(-FEW_ROWS * FOLDS // max(train, 1)))
    if folds > FOLDS:
        return f"{validation:,} validation rows and {train:,} training rows are too few to choose by"
    times = max(1, folds)
    count = min(rivals, int(COST * total / (times * STEPS)))
    if count < 2:
        where = f", each on {folds} folds of the training rows because validation has {validation:,}," if folds else ""
        return f"two pilots of {STEPS} steps{where} would cost more than {100 * COST:.0f} % of the {total:,} steps that they choose for"
    return Plan(count, min(max(STEPS, round(SHARE * total)), int(COST * total / (count * times))), folds)


def arenas(rows: Rows, check: Batches, batches: Batches, plan: Plan, *, data: PreparedData) -> list[Arena]:
    """One that validation scores; or one a fold, whose whole inputs and groups are kept out of the batches and scored.

    Rows in other words have no label: they go with their input, and those that are inputs of their own are trained on in any case.
    """
    if not plan.folds:
        return [Arena(batches, lambda model: data.task.marks(predict(model, check), check.data.labels))]
    split, seed = data.split("train"), batches.seed
    part = deal(split.clusters, data.task.strata(np.asarray(split.labels)), FOLDS, seed=seed)
    owner = np.asarray(rows.rows[rows.group])
    of_input = np.full(owner.max() + 1, -1)
    of_input[owner[: len(split)]] = part
    plain = replace(rows, targets=None, live=None, hidden={}, strata=None, shift=None, views=Views())
    return [_arena(rows, plain, of_input[owner] == fold, batches, data) for fold in range(plan.folds)]


def _arena(rows: Rows, plain: Rows, held: np.ndarray, batches: Batches, data: PreparedData) -> Arena:
    """held: (R,) bool, the rows that are scored, as `plain` has them."""
    scored = held & known(plain.labels)
    exam = Batches(plain, 512, shuffle=False, keep=scored)

    def marks(model: nn.Module) -> np.ndarray:
        return data.task.marks(predict(model, exam)[scored], np.asarray(plain.labels)[scored])

    return Arena(Batches(rows, batches.batch_size, seed=batches.seed, keep=~held, hide=batches.hide), marks)
