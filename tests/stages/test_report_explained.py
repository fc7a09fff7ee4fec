"""What the report says of which input decided, for the answers of every task: what is lost without an input, and what gradients say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from compress.io_spec import IOSpec, Port
from compress.models.saved import load_model, save_model
from compress.models.student import student
from compress.reporting.deciders import show_deciders
from compress.stages import report as stage
from compress.tables import TASKS
from compress.tasks.task import task

NAMES = ["a", "b", "c"]
PRICE = {"mean": [5.0], "deviation": [10.0]}
HEADS = [
    {"name": "kind", "task": "single_label", "names": NAMES[:2], "facts": {}, "options": {}, "weight": 1.0},
    {"name": "price", "task": "regression", "names": ["value"], "facts": PRICE, "options": {}, "weight": 1.0},
]
FACTS: dict[str, dict[str, Any]] = {"regression": {"mean": [5.0, 0, 1], "deviation": [10.0, 1, 2]}, "several": {"heads": HEADS}}
TITLES = {"regression": [": a", ": b", ": c"], "several": [": kind", ": price, value"]}
TIMED = {name: {"latency": {"1": {"median_ms": 1.0}}} for name in ("teacher", "fp32")}
CTX: Any = SimpleNamespace(threads=1)


def feeds(seed: int, rows: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {"text": draw.integers(1, 20, (rows, 5)), "numbers": draw.normal(size=(rows, 3)).astype(np.float32)}


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A student of texts and numbers that gives three numbers, and data of this task; its file is torch's own."""
    name = request.param
    unit = name in ("embedding", "verification")
    inputs = (Port("text", "int64", (5,), 0, 19), Port("numbers", "float32", (3,)))
    io = IOSpec(inputs, (Port("logits", "float32", (3,), unit=unit),))
    options = {
        "encoders": {"text": {"model": "bag", "options": {"width": 8}}, "numbers": {"model": "mlp", "options": {"width": 8}}},
        "head_width": 8,
    }
    torch.manual_seed(0)
    save_model(student(io, **options), tmp_path, name="student", options=options, io=io)
    model = SimpleNamespace(path=tmp_path, io_spec=io, details={})
    data = SimpleNamespace(
        task=task(name, facts=FACTS.get(name)),
        labels=NAMES,
        outputs=3,
        ports=["text", "numbers"],
        report={"modalities": ["text", "numbers"]},
    )

    def run(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {"logits": load_model(tmp_path)({m: torch.from_numpy(x) for m, x in given.items()}).logits.numpy()}

    monkeypatch.setattr(stage, "_some_rows", lambda *_, **__: (feeds(0, 40), feeds(1, 4)))
    monkeypatch.setattr(stage, "open_session", lambda *_, **__: SimpleNamespace(run=run))
    return model, data


@pytest.mark.parametrize("made", TASKS, indirect=True)
def test_every_answer_that_inputs_share_is_explained_by_both_ways(made: tuple[Any, Any]) -> None:
    model, data = made
    lost = stage.weigh_inputs_of(model, model.path, data, TIMED["fp32"], ctx=CTX)
    along = stage.explain_models(model, model, data, TIMED, asked=True, ctx=CTX)
    if data.task.name in ("token_labels", "segmentation", "retrieval"):
        assert lost == along == []
        return
    titles = TITLES.get(data.task.name, [""])
    shown = [show_deciders(values, of=of) for of, values in stage.by_number({"teacher": [], "fp32": lost})]
    assert [told and told["title"] for told in shown] == [f"Which input decided{title}" for title in titles]
    assert [told and told["title"] for told in along] == [f"Which input the gradients point at{title}" for title in titles]
    for told in shown:
        assert told and {row["rows"] for row in told["rows"]} == {40} and list(told["bars"]) == ["fp32: text", "fp32: numbers"]
        assert any(told["bars"].values())
    for told in along:
        assert told and list(told["bars"]) == [f"{name}: {m}" for name in ("teacher", "student") for m in ("text", "numbers")]


@pytest.mark.parametrize("made", ["single_label"], indirect=True)
def test_a_teacher_that_is_answers_alone_has_no_gradients(made: tuple[Any, Any]) -> None:
    model, data = made
    (told,) = stage.explain_models(model, model, data, TIMED, asked=False, ctx=CTX)
    assert told and list(told["bars"]) == ["student: text", "student: numbers"] and "answers alone" in told["note"]
