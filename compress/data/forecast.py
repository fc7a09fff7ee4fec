"""What a plan tells of costs once the rows are counted: what a teacher is asked, what is stored, and what a training reads and writes.

The formulas are those of compress/recipe/cost.py; parameters and times are of the last run of that name, where there was one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData, Split, open_data
from compress.errors import StoreError
from compress.modalities.modality import modality
from compress.recipe import cost
from compress.recipe.cost import passes, stored_bytes
from compress.recipe.recipe import Recipe
from compress.recipe.schedule import fit_schedule
from compress.store.artifacts import load
from compress.store.keys import PlannedStage
from compress.store.store import RunFolder, Store


def forecast(recipe: Recipe, planned: list[PlannedStage], runs: Path, *, processes: int = 1) -> list[str]:
    """Lines for each stage that asks a teacher or trains the student and is to run; one that says how rows are counted where the data are not made yet."""
    by_name = {stage.name: stage for stage in planned}
    if not any(stage.action == "run" for name, stage in by_name.items() if name.startswith(("teacher", "targets", "distill"))):
        return []
    if by_name["data"].action == "run":
        return ["what the teacher's answers cost is told once the rows are counted: `compress run --until data`"]
    data = open_data(Store(runs / ".store").entry("data", by_name["data"].fingerprint))
    lines = list(_lines(recipe, by_name, data))
    if by_name["distill"].action == "run":
        lines += _training(recipe, data, last_student(runs / recipe.name), processes)
    return lines


def _lines(recipe: Recipe, planned: Mapping[str, PlannedStage], data: PreparedData) -> Iterator[str]:
    labels = len(data.labels)
    for number, teacher in enumerate(recipe.places.values(), 1):
        end = f"_{number}" if recipe.teachers else ""
        if teacher.prompt is not None and planned[f"teacher{end}"].action == "run":
            prompts = sum(_different(data, split, recipe) for split in ("train", "validation", "test"))
            yield f"teacher{end}: {prompts:,} different prompts, {labels:,} labels: at most {passes(prompts, labels):,} forward passes"
        if planned[f"targets{end}"].action == "run":
            views, rows = (recipe.distill.augment.views if teacher.asked else 1), answered_rows(recipe, data)
            keep = recipe.distill.store_top_k
            size = stored_bytes(views, rows, data.outputs, keep)
            part = f", the {keep} largest" if keep and keep < data.outputs else ""
            each = cost.hidden_bytes(views, rows, 1) / 1e6
            hidden = f"; hidden states come on top, {each:,.2f} MB for each number of their width" if recipe.distill.hidden else ""
            yield f"targets{end}: {views} views of {rows:,} rows, {data.outputs:,} numbers each{part}: {size / 1e6:,.1f} MB of answers{hidden}"


def answered_rows(recipe: Recipe, data: PreparedData) -> int:
    """Training rows and, behind them, those in other words and in other pairs."""
    split, augment = data.split("train"), recipe.distill.augment
    reworded = sum(round(words.reworded * len(split)) for m in recipe.modalities if getattr(words := augment.get(m), "wordings", 0))
    return len(split) + reworded + augment.pairings * _groups(split)


def _groups(split: Split) -> int:
    """Distinct inputs of the modality that groups the rows."""
    return len(np.unique(np.asarray(next(iter(split.rows.values())))))


def _different(data: PreparedData, split: str, recipe: Recipe) -> int:
    return len(np.unique(np.stack([np.asarray(data.split(split).rows[m]) for m in recipe.modalities], 1), axis=0))


def reads(recipe: Recipe, data: PreparedData) -> tuple[dict[str, tuple[float, int]], float, int]:
    """What a step of the student's training reads: by modality the distinct inputs and the bytes of one; rows; bytes of a row's stored answer."""
    split, config = data.split("train"), recipe.distill.train
    inputs = _groups(split)
    batch = fit_schedule(config, inputs).batch_size
    rows = batch * len(split) / inputs
    given = {}
    for place, m in enumerate(recipe.modalities):
        stored = split.inputs[m]
        port = modality(m).port(recipe.data.inputs.get(m), None)
        each = stored[0].nbytes if isinstance(stored, np.ndarray) else prod(port.shape) * np.dtype(port.dtype).itemsize
        given[m] = (cost.expected_distinct(len(stored), rows) if place else float(batch), each)
    return given, rows, stored_bytes(1, 1, data.outputs, recipe.distill.store_top_k)


def last_student(run: Path) -> dict[str, Any]:
    """What the last run of that name tells of its student; {} where there was none."""
    try:
        target = RunFolder(run).links().get("distill")
        return load(target).details if target else {}
    except StoreError:
        return {}


def _training(recipe: Recipe, data: PreparedData, last: dict[str, Any], processes: int) -> Iterator[str]:
    split = data.split("train")
    inputs = _groups(split)
    schedule = fit_schedule(recipe.distill.train, inputs)
    steps, (given, rows, answer) = schedule.max_steps or 0, reads(recipe, data)
    read = cost.step_bytes(given, rows, answer)
    yield (
        f"distill: {steps:,} steps of {schedule.batch_size} {recipe.modalities[0]} inputs and {rows:,.0f} rows; a step reads {read / 1e6:,.2f} MB"
        + (f", of {processes} processes each {read / processes / 1e6:,.3f} MB" if processes > 1 else "")
    )
    if all(teacher.asked for teacher in recipe.places.values()):
        stored, live = cost.answers_asked(recipe.distill.augment.views, answered_rows(recipe, data), steps=steps, batch_rows=rows)
        yield f"distill: a stored teacher answers {stored:,} rows, a live one {live:,}"
    history = last.get("history", {})
    if history.get("steps") and history.get("seconds"):
        seconds = history["seconds"] / history["steps"]
        yield f"distill: at the last run's {1000 * seconds:,.0f} ms a step that is {read / seconds / 1e6:,.1f} MB a second"
    if last.get("parameters"):
        size, between = cost.checkpoint_bytes(last["parameters"]), cost.failure_seconds(processes)
        write = size / cost.DISK_RATE_HZ
        best = cost.checkpoint_interval(write, between)
        yield (
            f"distill: a checkpoint of the last run's {last['parameters']:,} parameters is {size / 1e6:,.1f} MB; with a failure every "
            f"{between / 86_400:,.0f} days the best interval is {best:,.0f} s, and {schedule.checkpoint_seconds:g} s "
            f"lose {100 * cost.lost_share(max(schedule.checkpoint_seconds, write), write, between):.2g} % of the time"
        )
