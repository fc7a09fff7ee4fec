"""What a plan tells of costs once the rows are counted: passes of a generative teacher, and the bytes of stored answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from compress.data.prepared import PreparedData, open_data
from compress.recipe.cost import passes, stored_bytes
from compress.recipe.recipe import Recipe
from compress.store.keys import PlannedStage
from compress.store.store import Store


def forecast(recipe: Recipe, planned: list[PlannedStage], runs: Path) -> list[str]:
    """A line for each stage that asks a teacher and is to run; one that says how rows are counted where the data are not made yet."""
    by_name = {stage.name: stage for stage in planned}
    if not any(stage.action == "run" for name, stage in by_name.items() if name.startswith(("teacher", "targets"))):
        return []
    if by_name["data"].action == "run":
        return ["what the teacher's answers cost is told once the rows are counted: `compress run --until data`"]
    data = open_data(Store(runs / ".store").entry("data", by_name["data"].fingerprint))
    return list(_lines(recipe, by_name, data))


def _lines(recipe: Recipe, planned: Mapping[str, PlannedStage], data: PreparedData) -> Iterator[str]:
    labels = len(data.labels)
    for number, teacher in enumerate(recipe.places.values(), 1):
        end = f"_{number}" if recipe.teachers else ""
        if teacher.prompt is not None and planned[f"teacher{end}"].action == "run":
            prompts = sum(_different(data, split, recipe) for split in ("train", "validation", "test"))
            yield f"teacher{end}: {prompts:,} different prompts, {labels:,} labels: at most {passes(prompts, labels):,} forward passes"
        if planned[f"targets{end}"].action == "run":
            views, rows = (recipe.distill.augment.views if teacher.asked else 1), len(data.split("train"))
            keep = recipe.distill.store_top_k
            size = stored_bytes(views, rows, data.outputs, keep)
            part = f", the {keep} largest" if keep and keep < data.outputs else ""
            hidden = "; hidden states come on top, in the teacher's width" if recipe.distill.hidden else ""
            yield f"targets{end}: {views} views of {rows:,} rows, {data.outputs:,} numbers each{part}: {size / 1e6:,.1f} MB of answers{hidden}"


def _different(data: PreparedData, split: str, recipe: Recipe) -> int:
    return len(np.unique(np.stack([np.asarray(data.split(split).rows[m]) for m in recipe.modalities], 1), axis=0))
