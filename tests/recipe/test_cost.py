"""What costs are told beforehand, against what small trainings really read, ask, store and write: within 20 %."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_ranks import CLASSES, toy

from compress.context import Context
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.models.classifier import Classifier, LinearHead
from compress.models.numbers import Perceptron
from compress.recipe import cost
from compress.recipe.sections import Loss, Train
from compress.training.answers import write_answers
from compress.training.batches import Batches, LiveTeacher, Rows
from compress.training.loop import train

CLOSE = 0.2


@pytest.fixture
def rows() -> Rows:
    return toy("plain")[1]


def test_a_step_reads_what_is_told(rows: Rows) -> None:
    batches, each = Batches(rows, 8, seed=1), {m: array[0].nbytes for m, array in rows.inputs.items()}
    assert rows.targets is not None
    found = []
    for epoch in range(5):
        for batch in batches.epoch(epoch):
            assert batch.teacher
            found.append(sum(x.nbytes for x in batch.inputs.values()) + batch.teacher.logits.nbytes / 2)  # stored as float16
    count = 8 * len(rows.labels) / len(rows.inputs["image"])
    given = {m: (8.0 if m == "image" else cost.expected_distinct(len(rows.inputs[m]), count), each[m]) for m in each}
    told = cost.step_bytes(given, count, cost.stored_bytes(1, 1, CLASSES))
    assert told == pytest.approx(np.mean(found), rel=CLOSE)


def test_a_teacher_is_asked_as_often_as_is_told(rows: Rows) -> None:
    stored, live, counted = [], [], {"logits": np.zeros((len(rows.labels), CLASSES), np.float16)}

    class Teacher(nn.Module):
        def forward(self, inputs: Any, which: Any) -> Outputs:
            return Outputs(torch.zeros(len(which["image"]), CLASSES))

    for _ in range(2):  # views
        write_answers(counted, Teacher(), rows, vary=None, tell=stored.append)

    def call(inputs: Any, which: Any) -> Outputs:
        live.append(len(which["image"]))
        return Teacher()(inputs, which)

    asked = Batches(replace(rows, targets=None, live=LiveTeacher(call, rows.inputs)), 8, seed=1)
    steps = sum(1 for epoch in range(4) for _ in asked.epoch(epoch))
    told = cost.answers_asked(2, len(rows.labels), steps=steps, batch_rows=8 * len(rows.labels) / len(rows.inputs["image"]))
    assert told[0] == sum(stored) and told[1] == pytest.approx(sum(live), rel=CLOSE)


def test_hidden_states_are_as_large_as_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "embedding.npy", np.zeros((2, 900, 64), np.float16))
    assert cost.hidden_bytes(2, 900, 64) == pytest.approx((tmp_path / "embedding.npy").stat().st_size, rel=CLOSE)


def test_a_checkpoint_is_as_large_as_is_told(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = Classifier({"numbers": Perceptron(4, width=256, depth=3)}, LinearHead("numbers", 256, CLASSES))
    data = Rows({"numbers": np.ones((8, 4), np.float32)}, {"numbers": np.arange(8)}, np.zeros(8, np.int64))
    config = Train(epochs=1, batch_size=8, checkpoint_seconds=0, trackers=[])
    settings: dict[str, Any] = {"validate": lambda m: np.zeros(1), "label": "toy", "ctx": Context(tmp_path, say=lambda line: None)}
    train(model, Batches(data, 8), objective=Objective([Loss(name="cross_entropy")]), config=config, **settings)
    told = cost.checkpoint_bytes(sum(p.numel() for p in model.parameters()))
    assert told == pytest.approx((tmp_path / "checkpoint" / "toy.pt").stat().st_size, rel=CLOSE)


def test_expected_distinct_is_what_draws_have() -> None:
    draw = np.random.default_rng(0)
    for inputs, rows in ((1, 5), (10, 4), (10, 40), (1000, 300)):
        found = np.mean([len(np.unique(draw.integers(0, inputs, rows))) for _ in range(300)])
        assert cost.expected_distinct(inputs, rows) == pytest.approx(found, rel=0.03)


def lost_in_simulation(interval: float, write: float, between: float) -> float:
    """The share of the time lost with failures drawn at random."""
    draw, clock, useful = np.random.default_rng(0), 0.0, 0.0
    while clock < 4000 * between:
        left = draw.exponential(between)
        whole = int(left // (interval + write))
        useful += whole * interval
        clock += left
    return 1 - useful / clock


def test_the_interval_between_checkpoints_loses_the_least_in_simulation() -> None:
    write, between = 5.0, 3600.0
    best = cost.checkpoint_interval(write, between)
    assert best == pytest.approx((2 * write * between) ** 0.5, rel=0.05)  # Young's
    losses = {factor: lost_in_simulation(factor * best, write, between) for factor in (0.3, 1, 3)}
    assert losses[1] < losses[0.3] and losses[1] < losses[3]
    assert cost.lost_share(best, write, between) == pytest.approx(losses[1], rel=CLOSE)
    assert cost.checkpoint_interval(100.0, 10.0) == 10.0  # writing takes longer than a process lives


def test_more_processes_fail_more_often() -> None:
    assert cost.failure_seconds(16_384) == pytest.approx(54 * 86_400 / 419)  # what was counted
    assert cost.failure_seconds(64) == 256 * cost.failure_seconds(16_384)
