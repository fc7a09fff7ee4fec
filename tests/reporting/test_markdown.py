"""report.md: a run's figures, with a user's own texts escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished import write_run
from markdown_it import MarkdownIt

from compress.recipe.sections import Budget
from compress.reporting.budgets import check_summary
from compress.reporting.markdown import escape, render_markdown, table
from compress.reporting.runs import Run, read_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    hits = {"teacher": [True] * 90 + [False] * 10, "fp32": [True] * 80 + [False] * 20, "int8_qat": [True] * 80 + [False] * 20}
    return read_run(write_run(tmp_path / "run", right=hits))


def test_text_has_the_figures_of_the_measurements(run: Run) -> None:
    text = render_markdown(run.summary, run.measurements, description="Tells <b>colours</b>.")
    assert "**int8_qat** ships: 80.00 % accuracy (teacher 90.00 %), 500 kB, 200x smaller, 25.0x faster at batch 1" in text
    assert "What it costs: -10.00 points (" in text and "0 rows against 10 of 100" in text
    assert "100 test samples" in text and "AMD EPYC" in text and "Tells &lt;b>colours" in text
    assert "Budget" not in text


def test_every_table_has_as_many_cells_a_row_as_columns(run: Run) -> None:
    html = MarkdownIt("gfm-like", {"linkify": False}).render(render_markdown(run.summary, run.measurements))
    assert html.count("<table>") == 4 and "colour|shape" in html and "Oslo|Bergen" in html  # a name with the sign that parts cells
    for part in html.split("<table>")[1:]:
        rows = [row.count("<td") + row.count("<th") for row in part.split("</table>")[0].split("<tr>")[1:]]
        assert len(set(rows)) == 1


def test_budget_is_told_line_by_line(run: Run) -> None:
    budget = check_summary(run.summary, Budget(max_size_mb=1, max_median_ms=0.1))
    text = render_markdown(run.summary, run.measurements, budget)
    assert "Budget: 1 of 2 lines missed." in text
    assert [line.split() for line in text.splitlines() if line.startswith("| max_median_ms")] == [
        "| max_median_ms | 0.4 | 0.1 | missed |".split()
    ]


def test_cells_are_in_line_and_escaped() -> None:
    assert table(["a", "bcd"], [["x|y", "1"]]).splitlines() == ["| a    | bcd |", "| ---- | --: |", "| x\\|y |   1 |"]


def test_escape_leaves_no_markup() -> None:
    assert escape("a\n<img> `x` & |") == "a &lt;img> \\`x\\` &amp; \\|"
