"""A number, or several: a price, a score, coordinates."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.io_spec import Port
from compress.tasks.labels import known
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric

STRATA = 10  # equally large classes by the first number, which splits spread evenly
PARTS = 4  # of the report


class Regression(Task):
    """The label is a number, or a list or a text of several; labels and logits are (R, D) in deviations of the training split.

    Facts: mean and deviation (D,) of the training labels, in the data's unit, and spread (D,), their mean distance from the median, in
    deviations. A row's gain is 1 - |error| / spread, the mean over its numbers: 0 for who always says the median.
    """

    column = "label"
    losses = ("squared_error", "absolute_error", "number_kd")
    hidden = True
    objective = ({"name": "squared_error"}, {"name": "number_kd"})
    rivals = {"number_kd": {"name": "number_kd"}}
    as_head = "values"
    metric = "error_explained"
    measure = "absolute error explained"
    constant = "the median"
    unknown = "no number"
    forms = ("answers",)
    balances = False
    foreign = ()  # whose numbers are not in deviations of these training labels

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """Texts, or lists of float64; null where the cell is blank."""
        import pyarrow as pa

        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind):
            return column.cast(kind)
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return pa.chunked_array([pa.array([None if v is None else [float(v)] for v in column.to_pylist()], pa.list_(pa.float64()))])
        inner = getattr(kind, "value_type", None)
        if inner is not None and (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
            return column.cast(pa.list_(pa.float64()))
        raise DataError(f"{place} is {column.type}, but numbers, lists of numbers or texts of numbers are needed")

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """`value`, or `value 1` ... as most rows of the training split have; DataError where none has a number."""
        cells = [cell for cell in column.to_pylist() if not _blank(cell)]
        found = Counter(len(values) for values in map(_numbers, cells) if values)
        if not found:
            such = f", such as {cells[0]!r}; data.task: single_label tells names apart" if cells else ""
            raise DataError(f"data: none of the {len(cells):,} labels of the training split is a number{such}")
        count = found.most_common(1)[0][0]
        return ["value"] if count == 1 else [f"value {d + 1}" for d in range(count)]

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """mean, deviation and spread; DataError where all labels are the same."""
        raw = _table(column.to_pylist(), len(names))
        raw = raw[known(raw)]
        mean, deviation = raw.mean(0), raw.std(0)
        for d, name in enumerate(names):
            if not deviation[d] > 1e-12 * max(1.0, abs(mean[d])):
                raise DataError(f"data: {name} is {raw[0, d]:g} in all {len(raw):,} rows of the training split: there is nothing to learn")
        scaled = (raw - mean) / deviation
        spread = np.abs(scaled - np.median(scaled, 0)).mean(0)
        return {"mean": mean.tolist(), "deviation": deviation.tolist(), "spread": spread.tolist()}

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R, D) float32 in deviations; NaN throughout where there are not D finite numbers."""
        cells = column.to_pylist()
        raw = _table(cells, len(names))
        scaled = (raw - np.array(self.facts["mean"])) / np.array(self.facts["deviation"])
        return scaled.astype(np.float32), np.array([_blank(cell) for cell in cells], bool)

    def fault(self, cell: Any, names: list[str]) -> str:
        """What stands there."""
        return f"{cell!r} is not {'a number' if len(names) == 1 else f'{len(names)} numbers'}"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The tenth of the rows that the first number lies in."""
        there = known(labels)
        first = labels[there, 0]
        found = np.full(len(labels), -1, np.int32)
        if len(first):
            found[there] = np.searchsorted(np.quantile(first, np.arange(1, STRATA) / STRATA), first)
        return found

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Mean, least and largest of each number; no label is counted."""
        raw = self._unit(labels)
        ends = {"mean": raw.mean(0), "low": raw.min(0), "high": raw.max(0)} if len(raw) else {}
        return {"label_counts": {}, "ranges": {name: {k: float(v[d]) for k, v in ends.items()} for d, name in enumerate(names)}}

    def port(self, names: list[str]) -> Port:
        """logits (D,) float32, in deviations."""
        return Port("logits", "float32", (len(names),))

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """The median of each code, number by number; 0, the mean, where a code has no rows."""
        rows, starts = np.bincount(codes, minlength=count), np.zeros(count, np.int64)
        starts[1:] = np.cumsum(rows)[:-1]
        found = np.zeros((count, labels.shape[1]))
        there = rows > 0
        for d in range(labels.shape[1]):
            ordered = labels[np.lexsort((labels[:, d], codes)), d].astype(np.float64)
            low, high = (starts + (rows - 1) // 2)[there], (starts + rows // 2)[there]
            found[there, d] = (ordered[low] + ordered[high]) / 2
        return found

    def vote(self, labels: np.ndarray, codes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The median of what was said of a row."""
        return self.guess(labels, codes, shape[0])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Errors in the data's unit, R2 and rank correlation."""
        from compress.measures import numbers
        from compress.measures.metrics import Metric

        def in_unit(compute: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
            return lambda logits, labels: compute(self._unit(logits), self._unit(labels))

        return {
            "error_explained": Metric(lambda logits, labels: float(self.gains(logits, labels).mean()), "fraction", True),
            "mean_absolute_error": Metric(in_unit(numbers.mean_absolute_error), "of the data", False),
            "root_mean_squared_error": Metric(in_unit(numbers.root_mean_squared_error), "of the data", False),
            "r2": Metric(in_unit(numbers.r2), "1", True),
            "spearman": Metric(in_unit(numbers.spearman), "1", True),
        }

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """The logits; NaN throughout where one is not finite."""
        return np.where(np.isfinite(logits).all(1, keepdims=True), logits, np.nan).astype(np.float32)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) 1 - |answer - label| / spread, the mean over the numbers; 0 where either is missing."""
        gains = 1 - (np.abs(np.float64(answers) - labels) / np.array(self.facts["spread"])).mean(1)
        return np.where(np.isfinite(gains), gains, 0.0)

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The rows by quarters of the first number."""
        gains, first = self.gains(answers, labels), self._unit(labels)[:, 0]
        edges = np.quantile(first, np.arange(1, PARTS) / PARTS)
        place = np.searchsorted(edges, first)
        ends = [f"{value:.4g}" for value in (first.min(), *edges, first.max())]
        return {f"{names[0]} {ends[k]} to {ends[k + 1]}": gains[place == k] for k in range(PARTS) if (place == k).any()}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """The numbers in the data's unit."""
        if not np.isfinite(answer).all():
            return "not a number"
        return ", ".join(f"{value:.4g}" for value in self._unit(answer[None])[0])

    def sentence(self, names: list[str]) -> str:
        """`a number` or `D numbers`."""
        return "a number" if len(names) == 1 else f"{len(names)} numbers"

    def _unit(self, labels: np.ndarray) -> np.ndarray:
        return np.float64(labels) * np.array(self.facts["deviation"]) + np.array(self.facts["mean"])


def _blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _numbers(cell: Any) -> list[float] | None:
    """The finite numbers of a cell; None where it holds anything else."""
    try:
        values = [float(part) for part in (re.split(r"[\s,;]+", cell.strip().strip("[]()").strip()) if isinstance(cell, str) else cell)]
    except (ValueError, TypeError):
        return None
    return values if all(map(math.isfinite, values)) else None


def _table(cells: list[Any], count: int) -> np.ndarray:
    """(R, D) float64, NaN throughout where a cell is not of `count` numbers."""
    blank = [math.nan] * count
    found = (None if _blank(cell) else _numbers(cell) for cell in cells)
    return np.array([values if values and len(values) == count else blank for values in found], np.float64).reshape(len(cells), count)
