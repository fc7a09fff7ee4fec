"""Budgets: what was measured beside each line of a budget, in words, and as JUnit XML for the page of a CI run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from compress.errors import CompressError
from compress.recipe.sections import Budget

NOT_MEASURED = {
    "max_cold_start_ms": "benchmark the run on Linux",
    "max_memory_mb": "benchmark the run on Linux",
    "max_drop_points": "give the teacher's answers to test rows as well",
    "max_drop_high_points": "give the teacher's answers to test rows as well",
    "max_head_drop_points": "give the teacher's answers to test rows as well",
    "min_slice_percent": "name columns of the data in data.options.slices that have parts of 10 test rows",
}


@dataclass(frozen=True)
class Line:
    """One line of a budget beside what was measured."""

    key: str  # of `Budget`
    limit: float
    value: float | None  # None: not measured
    interval: tuple[float, float] | None = None  # 95 %, of a value that has one

    @property
    def missed(self) -> bool:
        """Whether the estimate is beyond the limit, or there is none."""
        return self.value is None or self._over > 1e-9  # 100 * (0.99 - 0.985) is a little more than 0.5

    @property
    def text(self) -> str:
        """Which line, what was measured, the limit, by how much it is missed, and whether that is beyond chance."""
        name = f"budget.{self.key}"
        if self.value is None:
            way_out = NOT_MEASURED.get(self.key, "add 1 to benchmark.batches")
            where = "" if self.key in NOT_MEASURED else " at batch 1"
            return f"{name}: not measured{where}, so {self.limit:g} cannot be shown to hold; {way_out}"
        if not self.missed:
            return f"{name}: {self.value:.4g}, limit {self.limit:g}"
        return f"{name}: {self.value:.4g}, limit {self.limit:g}, missed by {self._over:.3g}{self._chance}"

    @property
    def _over(self) -> float:
        assert self.value is not None
        return self.limit - self.value if self.key.startswith("min") else self.value - self.limit

    @property
    def _chance(self) -> str:
        if self.interval is None:
            return ""
        low, high = self.interval
        told = "which holds the limit, so it may be chance" if low <= self.limit else "beyond chance"
        return f" (95 % interval {low:.3g} to {high:.3g}, {told})"


def list_lines(
    values: Mapping[str, float | None], budget: Budget, *, intervals: Mapping[str, tuple[float, float]] | None = None
) -> list[Line]:
    """Each line that the budget sets, among the keys of `values` (None: not measured). intervals: of those values that have one."""
    limits = {key: getattr(budget, key) for key in values}
    return [Line(key, limit, values[key], (intervals or {}).get(key)) for key, limit in limits.items() if limit is not None]


def list_misses(
    values: Mapping[str, float | None], budget: Budget | None, *, intervals: Mapping[str, tuple[float, float]] | None = None
) -> list[str]:
    """The text of each line that is missed."""
    return [line.text for line in list_lines(values, budget, intervals=intervals) if line.missed] if budget else []


def check_summary(summary: Mapping[str, Any], budget: Budget) -> list[Line]:
    """Each line of the budget beside what summary.json says of the shipped student.

    The estimate decides, as the recipe's number is one; a drop's line says whether its miss is beyond chance on the test rows.
    """
    values = {
        "max_drop_points": summary["shipped_drop_points"],
        "max_drop_high_points": summary["shipped_drop_high_points"],
        "min_latency_ratio": summary["shipped_latency_ratio"],
        "max_latency_ms": summary["shipped_latency_p95_ms"],
        "max_median_ms": summary["shipped_latency_ms"],
        "max_cold_start_ms": summary.get("shipped_cold_start_ms"),
        "max_memory_mb": in_mb(summary.get("shipped_memory_bytes")),
        "max_size_mb": in_mb(summary["shipped_size_bytes"]),
        "max_head_drop_points": summary.get("worst_head_drop_points"),
        "min_slice_percent": summary.get("worst_slice_percent"),
    }
    low, high = summary["shipped_drop_low_points"], summary["shipped_drop_high_points"]
    return list_lines(values, budget, intervals={} if low is None else {"max_drop_points": (low, high)})


def in_mb(size_bytes: float | None) -> float | None:
    """Bytes in MB of 10^6."""
    return None if size_bytes is None else size_bytes / 1e6


def latency_ratio(model: Mapping[str, Any]) -> float | None:
    """How many times the teacher's time a model takes less at batch 1: the median of paired calls; None where it was not timed."""
    over = ((model["latency"] or {}).get("1") or {}).get("teacher_over_this")
    return over["value"] if over else None


def measured(model: Mapping[str, Any], key: str) -> float | None:
    """The value of an entry of measurements.json that a machine may lack."""
    return (model.get(key) or {}).get("value")


def write_junit(path: Path, suites: Mapping[str, Sequence[Line]]) -> None:
    """Writes JUnit XML: a suite for each budget, by name, a test for each of its lines. Raises CompressError where it cannot be written."""
    root = ElementTree.Element("testsuites")
    for name, lines in suites.items():
        failures = sum(line.missed for line in lines)
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests=str(len(lines)), failures=str(failures), errors="0")
        for line in lines:
            case = ElementTree.SubElement(suite, "testcase", classname=f"budget.{name}", name=line.key)
            if line.missed:
                ElementTree.SubElement(case, "failure", message=line.text)
            ElementTree.SubElement(case, "system-out").text = line.text
    ElementTree.indent(root)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise CompressError(f"{path}: cannot be written: {error.strerror}") from error
