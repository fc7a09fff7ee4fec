"""How good a file is on the test rows: as a whole, by answer, by kind of row; and what baselines reach that need no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.baseline import baseline_answers, constant_answer
from compress.errors import CompressError, DataError
from compress.measures.metrics import mean_interval, wilson_interval
from compress.tasks.labels import known

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData, Split
    from compress.measures.metrics import Metric
    from compress.tasks.task import Task


def select_rows(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Indices of the labelled rows, evenly thinned to at most `limit`: the same rows for the same data."""
    rows = np.flatnonzero(known(labels))
    if not len(rows):
        raise DataError("benchmark: the test split has no labelled rows; label some of them")
    count = min(limit or len(rows), len(rows))
    return rows[np.arange(count) * len(rows) // count]


def answer(logits: np.ndarray, task: Task, *, outputs: int, name: str) -> np.ndarray:
    """(R, ...) the task's answers; raises CompressError for logits (R, K) of another K than `outputs`."""
    if logits.ndim != 2 or logits.shape[1] != outputs:
        raise CompressError(f"{name}: gives logits of shape {logits.shape[1:]}, but the data has {outputs} answers; export it again")
    return task.answers(logits)


def describe_quality(
    logits: np.ndarray, answers: np.ndarray, test: Split, *, rows: np.ndarray, data: PreparedData, task: Task
) -> dict[str, Any]:
    """The mean gain ("accuracy", which it is of one of K labels) with its interval, all metrics of the task over the finite rows, and the
    gain by answer, by kind and by the values of each column that it is told by.

    Shapes: logits (R, K) float32, answers (R, ...), rows (R,) indices into the test split."""
    labels = np.asarray(test.labels)[rows]
    gains = task.gains(answers, labels)
    finite = np.isfinite(logits).all(axis=1)
    metrics = {name: metric for name, metric in task.metrics.items() if name != task.metric}

    def by_part(names: list[str], codes: np.ndarray) -> list[dict[str, Any]]:
        parts = [(name, codes == k) for k, name in enumerate(names)]
        return [{"name": name, **share(task.gains(answers[inside], labels[inside]))} for name, inside in parts if inside.any()]

    return {
        "accuracy": share(gains),
        "metrics": {name: measured(metric, logits[finite], labels[finite]) for name, metric in metrics.items()},
        "non_finite": {"value": int(np.sum(~finite)), "unit": "samples", "samples": len(rows)},
        "by_answer": [{"name": name, **share(part)} for name, part in task.parts(answers, labels, data.labels).items()],
        "by_kind": by_part(data.kinds, np.asarray(test.kinds)[rows]),
        "by_slice": {name: by_part(values, np.asarray(test.slices[name])[rows]) for name, values in data.slices.items()},
    }


def count_differing(same: np.ndarray, theirs: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """How many rows a model answers otherwise than its teacher, and who has them right.

    Shapes: (R,) bool each; same: both answer the same, theirs: the teacher is right, own: the model is."""
    parts = {"teacher_alone": theirs & ~own, "this_alone": own & ~theirs, "neither": ~own & ~theirs, "both": own & theirs}
    return number(int((~same).sum()), "samples", len(same)) | {name: int((~same & part).sum()) for name, part in parts.items()}


def share(gains: np.ndarray) -> dict[str, Any]:
    """The mean of gains as data, with its 95 % interval: (n,) bool or float, n > 0."""
    n = len(gains)
    if gains.dtype != bool:
        low, high = mean_interval(gains)
        return {"value": float(gains.mean()), "low": low, "high": high, "samples": n, "unit": "fraction"}
    correct = int(gains.sum())
    low, high = wilson_interval(correct, n)
    return {"value": correct / n, "low": low, "high": high, "correct": correct, "samples": n, "unit": "fraction"}


def measured(metric: Metric, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """A metric of logits (R, K) and labels (R, ...) as data, with its interval where it has one."""
    found = number(metric.compute(logits, labels), metric.unit, int(metric.of(labels).sum()) if metric.of else len(labels))
    if metric.interval and found["value"] is not None:
        found["low"], found["high"] = metric.interval(logits, labels)
    return found


def number(value: float, unit: str, samples: int) -> dict[str, Any]:
    """A number as data; NaN becomes null, which JSON can say."""
    return {"value": value if np.isfinite(value) else None, "unit": unit, "samples": samples}


def describe_baselines(data: PreparedData, rows: np.ndarray) -> dict[str, Any]:
    """What needs no model: the answer that fits the training rows best, and the one that fits those with the same input of one modality."""
    labels = np.asarray(data.split("test").labels)[rows]
    found = {name: share(data.task.gains(answers[rows], labels)) for name, answers in baseline_answers(data).items()}
    if found:
        found["majority"]["answer"] = data.task.show(constant_answer(data)[0], data.labels)
    return found
