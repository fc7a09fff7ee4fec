"""What a model that takes gaps is worth with some of the inputs alone: one line for each set of inputs, accuracy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.io_spec import PRESENT
from compress.stages.benchmark.candidate import Candidate
from compress.stages.benchmark.quality import answer, select_rows, share
from compress.stages.benchmark.scoring import score
from compress.tasks.labels import known

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData, Split

MAX_ROWS = 2_000


def score_subsets(models: Mapping[str, Candidate], data: PreparedData, *, threads: int) -> list[dict[str, Any]]:
    """[{"inputs": names, "accuracy": {model: share}}, ...], all inputs first, over up to MAX_ROWS labelled test rows that have every input;
    [] where models take no gaps, or no row has everything."""
    test, modalities = data.split("test"), data.report["modalities"]
    if PRESENT not in test.rows:
        return []
    labels = np.asarray(test.labels)
    whole = np.flatnonzero(known(labels) & ~np.any([test.lacks(m) for m in modalities], axis=0))
    if not len(whole):
        return []
    rows = whole[select_rows(labels[whole], MAX_ROWS)]
    found = []
    for names in subsets(modalities):
        accuracy = {}
        for name, model in models.items():
            given, alone = with_alone(model, test, [m in names for m in modalities])
            task = data.task.with_facts(model.facts)
            answers = answer(score(given, alone, rows, threads=threads), task, outputs=data.outputs, name=name)
            accuracy[name] = share(task.gains(answers, labels[rows]))
        found.append({"inputs": list(names), "accuracy": accuracy})
    return found


def subsets(modalities: list[str]) -> Iterator[tuple[str, ...]]:
    """Every set of inputs but the empty one, the larger ones first."""
    for count in range(len(modalities), 0, -1):
        yield from combinations(modalities, count)


def with_alone(model: Candidate, test: Split, present: list[bool]) -> tuple[Candidate, Split]:
    """The model and the split, each row having these inputs alone."""
    pattern = np.array([present], np.float32)  # (1, M)
    rows = {**test.rows, PRESENT: np.zeros(len(test), np.int32)}
    return replace(model, inputs={**model.inputs, PRESENT: pattern}), replace(test, rows=rows)
