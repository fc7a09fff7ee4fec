"""Classes side by side: what the page gets of the measurements."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from compress.measures.labels import describe_labels
from compress.reporting.page import find_template
from compress.reporting.quality import LARGEST_MATRIX, quality_parts


def measured(count: int, *, wrong: int) -> dict[str, Any]:
    """What is measured of a model that takes `wrong` of 40 rows of each of `count` classes for the next class."""
    labels = np.repeat(np.arange(count), 40)
    answers = np.where(np.arange(len(labels)) % 40 < wrong, (labels + 1) % count, labels)
    return {"labels": describe_labels(3.0 * np.eye(count)[answers], labels, [f"<{k}>" for k in range(count)])}


def parts(count: int, *, wrong: int) -> dict[str, Any]:
    models = {"teacher": measured(count, wrong=0), "student": measured(count, wrong=wrong)}
    return quality_parts(models, ["teacher", "student"], shipped="student", labels=[f"<{k}>" for k in range(count)])


def test_matrix_counts_rows_by_label_and_answer() -> None:
    matrix = parts(3, wrong=10)["confusion"]["matrix"]
    assert [[cell["rows"] for cell in row] for row in matrix] == [[30, 10, 0], [0, 30, 10], [10, 0, 30]]
    assert matrix[0][0]["hit"] and not matrix[0][1]["hit"] and matrix[0][1]["percent"] == 25


def test_many_classes_are_told_as_pairs() -> None:
    found = parts(LARGEST_MATRIX + 1, wrong=10)["confusion"]
    assert found["matrix"] is None and found["pairs"][0] == ("<0>", "<1>", 10)


def test_nothing_confused_is_no_matrix() -> None:
    assert parts(3, wrong=0)["confusion"] is None


def test_template_shows_figures_and_escapes_names() -> None:
    found = parts(3, wrong=10)
    page = find_template("quality.html.j2").render(**found, summary={"shipped_model": "student"})
    assert "&lt;0&gt;" in page and "<0>" not in page and "75.0" in page  # 30 of 40
    ElementTree.fromstring(str(found["reliability"]))


@pytest.mark.parametrize("shipped", [{}, {"labels": {}}])
def test_other_tasks_have_no_such_part(shipped: dict) -> None:
    found = quality_parts({"teacher": {}, "student": shipped}, ["teacher", "student"], shipped="student", labels=[])
    assert found["quality"] == {} and "Class by class" not in find_template("quality.html.j2").render(**found, summary={})
