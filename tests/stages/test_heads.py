"""Several heads at the gate, in the benchmark and under a budget: each is judged by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from compress.errors import BundleError, ParityError
from compress.io_spec import IOSpec, Port
from compress.measures.document import Head
from compress.recipe.parity import Parity
from compress.recipe.sections import Budget
from compress.reporting.budgets import list_lines
from compress.reporting.heads import show_heads
from compress.reporting.summary import describe_heads as summarise_heads
from compress.stages.benchmark.heads import describe_heads
from compress.stages.benchmark.quality import share
from compress.stages.bundle import describe_model
from compress.stages.export.gate import Gate
from compress.tasks.task import task

ROWS = 200


def heads() -> tuple[Any, np.ndarray]:
    """A task of a label and a number, and labels (R, 2): every fourth row lacks the number."""
    draw = np.random.default_rng(0)
    states, prices = draw.choice(["up", "down"], ROWS).tolist(), draw.normal(size=ROWS).tolist()
    prices = [None if row % 4 == 0 else price for row, price in enumerate(prices)]
    column = pa.table({"state": states, "price": pa.array(prices, pa.float64())}).to_struct_array()
    words = {"task_options": {}, "weight": 1.0}
    given = {"state": {"task": "single_label", "column": "state", **words}, "price": {"task": "regression", "column": "price", **words}}
    room = task("several", options={"data_heads": given})
    cells = room.cells(pa.chunked_array(column) if isinstance(column, pa.Array) else column, "here")
    names = room.names(cells)
    room = room.with_facts(room.learn(cells, names))
    return room, room.encode(cells, names)[0]


TASK, LABELS = heads()
STATE, PRICE = TASK.heads
PERFECT = np.stack([4.0 - 8 * LABELS[:, 0], 8 * LABELS[:, 0] - 4, np.where(PRICE.there(LABELS), LABELS[:, 1], 0)], 1).astype(np.float32)
WRONG = PERFECT.copy()
WRONG[:50, :2] *= -1  # a quarter of the states


def gate() -> Gate:
    parts = {part.name: (part.place.logits, part.task.decisions) for part in TASK.heads}
    return Gate(Parity(), {"numbers": np.zeros((ROWS, 1), np.float32)}, decisions=TASK.decisions, heads=parts)


def test_gate_notes_a_record_for_each_head() -> None:
    made = gate()
    made.compare("a", "b", PERFECT, PERFECT + 1e-7, kind="fp32")
    assert [(record["to"], record["passed"]) for record in made.records] == [("b, head state", True), ("b, head price", True)]


def test_small_head_beside_a_large_one_must_pass_by_itself() -> None:
    """Half a hundredth of the number's size is lost among logits of 400: the gate of all logits together would let it pass."""
    large = PERFECT * np.array([100, 100, 1], np.float32)
    off = large.copy()
    off[:, 2] *= 1.005
    Gate(Parity(), gate().feeds, decisions=TASK.decisions).compare("a", "b", large, off, kind="fp32")
    made = gate()
    with pytest.raises(ParityError, match="head price: "):
        made.compare("a", "b", large, off, kind="fp32")
    assert [record["passed"] for record in made.records] == [True, False]


def test_shares_behind_the_logits_must_pass_by_themselves() -> None:
    """Half a hundredth of their size is lost among logits of 400."""
    shares = np.stack([np.linspace(0.2, 0.4, ROWS), np.linspace(0.8, 0.6, ROWS)], 1).astype(np.float32)
    before, after = (np.concatenate([PERFECT, told], 1) for told in (shares, shares * np.array([1.005, 1], np.float32)))
    parts = {part.name: (part.place.logits, part.task.decisions) for part in TASK.heads}
    made = Gate(Parity(), gate().feeds, decisions=TASK.decisions, heads=parts, shares=2)
    made.compare("a", "b", before, before, kind="fp32")
    with pytest.raises(ParityError, match="shares: "):
        made.compare("a", "b", before, after, kind="fp32")
    names = ["b, head state", "b, head price", "b, shares"]
    assert [(record["to"], record["passed"]) for record in made.records] == [(name, True) for name in names] + [
        (name, name != names[-1]) for name in names
    ]


def measured() -> dict[str, Any]:
    models: dict[str, Any] = {}
    for name, role, logits in (("teacher", "teacher", PERFECT), ("fp32", "student", WRONG)):
        answers = TASK.answers(logits)
        models[name] = {"role": role, "precision": "fp32", "accuracy": share(TASK.gains(answers, LABELS))}
        models[name]["heads"] = describe_heads(logits, answers, LABELS, task=TASK)
    return models


def pair(models: dict[str, Any]) -> None:
    """What the benchmark adds of pairs, without its data folder: rows stand for themselves."""
    from compress.stages.benchmark.pairs import _pair

    answers = {"teacher": TASK.answers(PERFECT), "fp32": TASK.answers(WRONG)}
    for part in TASK.heads:
        there = part.there(LABELS)
        gains = {name: part.task.gains(part.labels(found)[there], part.labels(LABELS)[there]) for name, found in answers.items()}
        entries = {name: model["heads"][part.name]["accuracy"] for name, model in models.items()}
        _pair(models, entries, gains, {}, groups=np.arange(ROWS)[there], heard=np.ones(int(there.sum()), bool))


def test_each_head_is_scored_on_the_rows_that_have_its_label() -> None:
    found = measured()["fp32"]["heads"]
    assert found["state"]["accuracy"]["correct"] == 150 and found["state"]["accuracy"]["samples"] == ROWS
    assert found["price"]["accuracy"] | {"low": 1, "high": 1} == {"value": 1, "low": 1, "high": 1, "samples": 150, "unit": "fraction"}
    assert found["state"]["labels"]["confusions"] and "labels" not in found["price"]
    assert measured()["fp32"]["accuracy"]["value"] == pytest.approx((0.75 + 1) / 2)
    for head in found.values():
        Head.model_validate(head)


def test_mean_that_rounds_to_a_little_more_than_1_is_no_fault_of_the_summary() -> None:
    summary = {"teacher_accuracy": 1.0000000000000002, "samples": 3, "heads": {}}
    io = IOSpec((), (Port("logits", "float32", (2,)),))
    assert "| teacher | 100.00% |" in describe_model(summary, io_spec=io, labels=["a", "b"], licences=[])
    with pytest.raises(BundleError, match="give it as a fraction"):
        describe_model({**summary, "teacher_accuracy": 1.01}, io_spec=io, labels=["a", "b"], licences=[])


def test_budget_holds_the_head_that_loses_most() -> None:
    models = measured()
    pair(models)
    summary = summarise_heads(models["teacher"], models["fp32"], models["fp32"])
    assert summary["worst_head"] == "state" and summary["worst_head_drop_points"] == pytest.approx(25)
    assert summary["heads"]["price"] | {"shipped_drop_low_points": 0, "shipped_drop_high_points": 0} == {
        "task": "regression", "measure": "absolute error explained", "samples": 150, "teacher_accuracy": 1, "student_accuracy": 1,
        "shipped_accuracy": 1, "shipped_drop_points": 0, "shipped_drop_low_points": 0, "shipped_drop_high_points": 0,
    }  # fmt: skip
    (line,) = list_lines({"max_head_drop_points": summary["worst_head_drop_points"]}, Budget(max_head_drop_points=10))
    assert line.missed and line.text == "budget.max_head_drop_points: 25, limit 10, missed by 15"
    shown = show_heads(models, shipped="fp32")["rows"]
    assert [(row["head"], row["test rows"], row["teacher, %"], row["fp32, %"]) for row in shown] == [
        ("state", "200", "100.00", "75.00"), ("price", "150", "100.00", "100.00")
    ]  # fmt: skip
    assert summarise_heads(*[{"accuracy": {}}] * 3) == {"heads": {}, "worst_head": None, "worst_head_drop_points": None}
