"""Pages about a run whose teacher is stored answers to none of the test rows: what is not known is said, and nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished import write_run

from compress.recipe.sections import Budget
from compress.reporting.budgets import check_summary
from compress.reporting.choice import choose_precision
from compress.reporting.compare import compare_runs
from compress.reporting.markdown import render_markdown
from compress.reporting.page import render_page
from compress.reporting.runs import Run, read_run
from compress.reporting.summary import describe_run, summarise_run

UNKNOWN = {"accuracy": {"value": None, "low": None, "high": None, "samples": 0}, "latency": None, "peak_memory": None, "cold_start": None}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    hits = [True] * 80 + [False] * 20
    folder = write_run(tmp_path / "run", right={"teacher": hits, "fp32": hits, "int8_qat": hits})
    path = folder / "10-benchmark" / "measurements.json"
    measured = json.loads(path.read_text()) | {"command": "python -m compress.stages.benchmark job.json measurements.json"}
    models = measured["models"]
    models["teacher"] |= {**UNKNOWN, "size": {"value": None}, "parameters": {"value": None}, "by_kind": [], "by_answer": []}
    for model in models.values():
        model["agreement"] = {"value": None}
        model["accuracy"].pop("against_teacher", None)
        if model["latency"]:
            model["latency"]["1"].pop("teacher_over_this")
    path.write_text(json.dumps(measured))
    choice = choose_precision(measured, target="onnxruntime_x86", budget=Budget(max_size_mb=4))
    (folder / "summary.json").write_text(json.dumps(summarise_run(measured, choice, name="run", stages=[])))
    return read_run(folder)


def test_summary_has_every_key_and_no_number_that_nobody_knows(run: Run) -> None:
    keys = ("teacher_accuracy", "teacher_size_bytes", "size_ratio", "shipped_size_ratio", "latency_ratio", "shipped_drop_points")
    assert {key: run.summary[key] for key in keys} == dict.fromkeys(keys)
    assert run.summary["shipped_accuracy"] == 0.8
    assert describe_run(run.summary).startswith("teacher unknown on test, student 80.00 %")


def test_budget_on_the_loss_is_missed_because_it_cannot_be_shown(run: Run) -> None:
    (line,) = check_summary(run.summary, Budget(max_drop_points=1))
    assert line.missed and line.text == (
        "budget.max_drop_points: not measured, so 1 cannot be shown to hold; give the teacher's answers to test rows as well"
    )


def test_pages_say_so(run: Run) -> None:
    page = render_page(summary=run.summary, measurements=run.measurements, extras={}, samples=[], misses=[])
    assert "not known, for the teacher answered no test row" in page and "None" not in page
    text = render_markdown(run.summary, run.measurements)
    assert "What it costs: not known" in text and "size and latency of the teacher are unknown" in text and "None" not in text
    figures = dict(compare_runs([run, run])["figures"])
    assert figures["smaller than its teacher"] == figures["shipped against its teacher, points"] == ["–", "–"]
