"""Runs side by side: paired differences where the test rows are the same, and no pairing where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished import write_run

from compress.reporting.compare import compare_runs, comparison_markdown, why_not_same_rows, write_comparison
from compress.reporting.runs import read_run


def hits(shipped: int, *, teacher: int = 90, rows: int = 100) -> dict[str, list[bool]]:
    """The first rows right, so that one run's right rows hold those of a worse one."""
    counts = {"teacher": teacher, "fp32": shipped, "int8_qat": shipped}
    return {name: [True] * right + [False] * (rows - right) for name, right in counts.items()}


def test_same_rows_are_compared_in_pairs(tmp_path: Path) -> None:
    one, other = (read_run(write_run(tmp_path / name, right=hits(right))) for name, right in (("one", 70), ("other", 80)))
    comparison = compare_runs([one, other])
    shipped = comparison["paired"][0]
    # 10 rows that the second alone has right, none that the first alone has: p = 2 * (1/2)^10
    assert shipped[:3] == ["shipped", "other", "one"] and shipped[3].startswith("+10.00 (+4.")
    assert shipped[4:] == ["10", "0", "0.002", "better"]
    assert [row[0] for row in comparison["paired"]] == ["shipped", "student", "teacher"]
    assert comparison["paired"][2][4:] == ["0", "0", "1", "not shown"]


def test_figures_stand_a_column_a_run(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, right=hits(right))) for name, right in (("one", 70), ("other", 80), ("third", 60))]
    figures = dict(compare_runs(runs)["figures"])
    assert [cell[:5] for cell in figures["shipped accuracy, % (95 %)"]] == ["70.00", "80.00", "60.00"]
    assert figures["cold start, ms"] == ["300", "300", "300"] and figures["peak memory, MB"] == ["80.0", "80.0", "80.0"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"right": hits(8, teacher=9, rows=10)}, "other test rows were scored"),
        ({"identity": "b", "texts": "other"}, "not equal byte for byte"),
        ({"identity": "b"}, None),  # another training file beside the same test file
    ],
)
def test_rows_are_the_same_only_where_that_is_known(tmp_path: Path, changed: dict, reason: str | None) -> None:
    one = read_run(write_run(tmp_path / "one", right=hits(70)))
    other = read_run(write_run(tmp_path / "other", **{"right": hits(80), **changed}))
    found = why_not_same_rows(one, other)
    assert found is None if reason is None else reason in (found or "")
    comparison = compare_runs([one, other])
    assert len(comparison["paired"]) == (3 if reason is None else 0)
    assert any("cannot be compared row by row" in note for note in comparison["notes"]) == (reason is not None)


def test_recipes_are_shown_where_they_differ(tmp_path: Path) -> None:
    recipes = [{"name": "a", "seed": 0, "student": {"width": 0.5}}, {"name": "b", "seed": 0, "student": {"width": 1.0, "deep": True}}]
    runs = [read_run(write_run(tmp_path / str(i), right=hits(70), recipe=recipe)) for i, recipe in enumerate(recipes)]
    assert compare_runs(runs)["recipes"] == [("student.width", ["0.5", "1.0"]), ("student.deep", ["–", "true"])]


def test_page_and_text_hold_the_comparison_and_ask_nothing_of_the_network(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, right=hits(right))) for name, right in (("one", 70), ("<i>other", 80))]
    comparison = compare_runs(runs)
    text = comparison_markdown(comparison)
    write_comparison(tmp_path / "compare.html", runs, comparison)
    page = (tmp_path / "compare.html").read_text()
    for figure in ("+10.00 (+4.", "70.00 (", "80.00 (", "25.0x", "better"):
        assert figure in text and figure in page
    assert "<i>" not in page and "&lt;i&gt;other" in page and page.count("<svg") == 1
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page and "<script" not in page
