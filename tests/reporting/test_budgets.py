"""Budgets: what is missed and by how much, what was not measured, and JUnit XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from finished import write_run

from compress.errors import CompressError
from compress.recipe.sections import Budget
from compress.reporting.budgets import Line, check_summary, list_misses, write_junit
from compress.reporting.runs import read_run


@pytest.fixture
def summary(tmp_path: Path) -> dict:
    """100 test rows, of which the teacher has 90 right and what ships 80."""
    hits = {"teacher": [True] * 90 + [False] * 10, "fp32": [True] * 80 + [False] * 20, "int8_qat": [True] * 80 + [False] * 20}
    return read_run(write_run(tmp_path / "run", right=hits)).summary


def test_every_line_of_a_budget_is_checked(summary: dict) -> None:
    everything = dict.fromkeys(Budget.model_fields, 1.0)
    lines = {line.key: line for line in check_summary(summary, Budget(**everything))}
    assert lines.keys() == Budget.model_fields.keys()
    measured = {"max_drop_points": 10, "min_latency_ratio": 25, "max_latency_ms": 0.8, "max_median_ms": 0.4, "max_cold_start_ms": 300}
    assert {key: lines[key].value for key in measured} == pytest.approx(measured)
    assert (lines["max_memory_mb"].value, lines["max_size_mb"].value) == (80, 0.5)
    assert {key for key, line in lines.items() if line.missed} == {
        *("max_drop_points", "max_drop_high_points", "max_cold_start_ms", "max_memory_mb"),
        "max_head_drop_points",  # there are no heads
    }


def test_a_drop_within_the_limit_can_be_missed_at_its_pessimistic_end(summary: dict) -> None:
    high = summary["shipped_drop_high_points"]
    assert high > 12  # 10 points on 100 rows: the interval is wide
    kept = Budget(max_drop_points=12, max_drop_high_points=high + 0.1)
    assert not [line for line in check_summary(summary, kept) if line.missed]
    missed = [line.text for line in check_summary(summary, Budget(max_drop_points=12, max_drop_high_points=12)) if line.missed]
    assert len(missed) == 1 and missed[0].startswith(f"budget.max_drop_high_points: {high:.4g}, limit 12, missed by")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (Line("max_size_mb", 4, 3.5), "budget.max_size_mb: 3.5, limit 4"),
        (Line("max_size_mb", 3, 3.5), "budget.max_size_mb: 3.5, limit 3, missed by 0.5"),
        (Line("min_latency_ratio", 3, 2.5), "budget.min_latency_ratio: 2.5, limit 3, missed by 0.5"),
        (Line("max_median_ms", 3, None), "not measured at batch 1, so 3 cannot be shown to hold; add 1 to benchmark.batches"),
        (Line("max_memory_mb", 3, None), "budget.max_memory_mb: not measured, so 3 cannot be shown to hold; benchmark the run on Linux"),
        (Line("max_drop_points", 0.5, 100 * (0.99 - 0.985)), "budget.max_drop_points: 0.5, limit 0.5"),  # 0.50000000000000044
    ],
)
def test_a_line_says_what_was_measured_and_the_limit(line: Line, text: str) -> None:
    assert line.text.endswith(text) and line.missed == ("missed" in text or "not measured" in text)


def test_no_budget_has_no_misses() -> None:
    assert list_misses({"max_size_mb": 3.5}, None) == [] == list_misses({"max_size_mb": 3.5}, Budget())


def test_junit_has_a_suite_for_each_budget_and_a_failure_for_each_miss(tmp_path: Path) -> None:
    met, missed = Line("max_size_mb", 4, 3.5), Line("max_latency_ms", 1, 2.0)
    write_junit(tmp_path / "budget.xml", {"recipe": [met], "ci <&>.yaml": [met, missed]})
    suites = ElementTree.parse(tmp_path / "budget.xml").getroot()
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in suites] == [
        ("recipe", "1", "0"),
        ("ci <&>.yaml", "2", "1"),
    ]
    failures = suites.findall(".//failure")
    assert [failure.get("message") for failure in failures] == ["budget.max_latency_ms: 2, limit 1, missed by 1"]
    with pytest.raises(CompressError, match="cannot be written"):
        write_junit(tmp_path / "none" / "budget.xml", {})
