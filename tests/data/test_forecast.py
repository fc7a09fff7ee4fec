"""What `compress plan` tells of the student's training, against the run that then makes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from number_rows import write_numbers

from compress.data.forecast import forecast
from compress.pipeline import plan, run
from compress.recipe.grammar import load_recipe


def told(recipe: Path, *overrides: str, processes: int = 1) -> list[str]:
    loaded, runs = load_recipe(recipe, list(overrides)), recipe.parent / "runs"
    return forecast(loaded.recipe, plan(loaded, runs=runs, threads=1), runs, processes=processes)


def test_a_plan_tells_what_the_training_reads_and_of_the_last_run(tmp_path: Path) -> None:
    recipe = write_numbers(tmp_path)
    run(load_recipe(recipe), runs=tmp_path / "runs", threads=1, last="data", say=lambda line: None)
    first = [line for line in told(recipe) if line.startswith("distill")]
    made = run(load_recipe(recipe), runs=tmp_path / "runs", threads=1, last="distill", say=lambda line: None).artifacts
    details = made["distill"].details
    assert first == [
        f"distill: {details['history']['steps']} steps of 16 numbers inputs and 16 rows; a step reads 0.00 MB",
        f"distill: a stored teacher answers 180 rows, a live one {16 * details['history']['steps']}",
    ]
    assert told(recipe) == []  # nothing is left to be made
    again = told(recipe, "distill.train.epochs=4", processes=64)
    assert len(again) == 4 and "of 64 processes each" in again[0]
    rate = re.search(r"at the last run's ([\d,]+) ms a step", again[2])
    assert rate and int(rate[1]) == pytest.approx(1000 * details["history"]["seconds"] / details["history"]["steps"], abs=0.5)
    assert f"the last run's {details['parameters']:,} parameters" in again[3] and "every 33 days" in again[3]
