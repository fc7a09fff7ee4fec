"""How good a file is head by head, each by its own measure on the test rows that have its label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.measures.labels import describe_labels
from compress.stages.benchmark.quality import share

if TYPE_CHECKING:
    from compress.tasks.task import Task


def describe_heads(logits: np.ndarray, answers: np.ndarray, labels: np.ndarray, *, task: Task) -> dict[str, dict[str, Any]]:
    """{head: {task, measure, accuracy: the mean gain with its interval, labels: a closer look at one of K labels}}; none that no row has.

    Shapes: logits (R, K), answers and labels (R, L) as of task several."""
    found: dict[str, dict[str, Any]] = {}
    for part in task.heads:
        there = part.there(labels)
        if not there.any():
            continue
        own, room = part.labels(labels)[there], part.task
        found[part.name] = {"task": room.name, "measure": room.measure, "accuracy": share(room.gains(part.labels(answers)[there], own))}
        if room.one_of_many:
            temperature = room.facts.get("temperature", 1.0)
            closer = describe_labels(part.logits(logits)[there], own, part.names, temperature=temperature)
            found[part.name] |= {"labels": closer} if closer else {}
    return found
