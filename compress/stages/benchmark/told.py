"""A teacher of which there are stored answers and no file: how good these are on the test rows that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.measures.labels import describe_labels
from compress.stages.benchmark.heads import describe_heads
from compress.stages.benchmark.quality import describe_quality, number

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData, Split


def describe_told(
    logits: np.ndarray, heard: np.ndarray, test: Split, *, rows: np.ndarray, data: PreparedData, facts: dict[str, Any]
) -> dict[str, Any]:
    """The entry of such a teacher in the measurements; size, parameters, latency and memory are None: nobody knows them.

    Shapes: logits (R, K) of the test rows `rows` (R,), heard (R,) bool: those that it answered. Shares are of these rows alone, and None
    where there is none.
    """
    task, labels = data.task.with_facts(facts), np.asarray(test.labels)[rows]
    unknown = {"size": {"value": None, "unit": "bytes"}, "parameters": {"value": None, "unit": "parameters"}}
    entry = {"role": "teacher", "precision": "fp32", "target": None, "runtime": None, "file": None, **unknown}
    entry |= dict.fromkeys(("latency", "peak_memory", "cold_start"))
    if not heard.any():
        nothing = {"accuracy": {"value": None, "low": None, "high": None, "samples": 0, "unit": "fraction"}, "by_answer": [], "by_kind": []}
        nothing["by_slice"] = {name: [] for name in data.slices}
        metrics = {name: number(np.nan, metric.unit, 0) for name, metric in task.metrics.items() if name != task.metric}
        return {**entry, **nothing, "metrics": metrics, "non_finite": number(0, "samples", 0)}
    found = describe_quality(logits[heard], task.answers(logits[heard]), test, rows=rows[heard], data=data, task=task)
    if task.heads:
        found["heads"] = describe_heads(logits[heard], task.answers(logits[heard]), labels[heard], task=task)
    if task.one_of_many:
        closer = describe_labels(logits[heard], labels[heard], data.labels, temperature=facts.get("temperature", 1.0))
        found |= {"labels": closer} if closer else {}
    return {**entry, **found}
