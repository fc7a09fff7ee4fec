"""Tags: how cells are read, what splits see of them, thresholds, and the same answer on a device."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from compress.device import tasks as on_device
from compress.errors import DataError
from compress.tasks.task import task

TASK = task("multi_label")


def column(*values: object, type: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type)])


def test_cells_are_texts_with_a_separator_or_lists() -> None:
    assert TASK.cells(column("a|b", " b | b|", None, " "), "x").to_pylist() == [["a", "b"], ["b"], None, None]
    assert TASK.cells(column(["a"], [], None, type=pa.list_(pa.string())), "x").to_pylist() == [["a"], [], None]
    assert TASK.cells(column([3, 1]), "x").to_pylist() == [["3", "1"]]
    comma = task("multi_label", options={"separator": ",", "blank_is_none": True})
    assert comma.cells(column("a, b", None), "x").to_pylist() == [["a", "b"], []]


def test_numbers_are_no_tags() -> None:
    with pytest.raises(DataError, match="x is double, but tags are texts or lists; data.task: regression"):
        TASK.cells(column(1.5), "x")


def test_one_tag_in_every_row_is_another_task_or_another_separator() -> None:
    with pytest.raises(DataError, match=r"exactly one tag, such as 'a;b': set data.task_options.separator \(it is '\|'\)"):
        TASK.names(TASK.cells(column("a;b", "c"), "x"))


def test_rows_are_encoded_tag_by_tag_and_unknown_tags_are_told() -> None:
    cells = TASK.cells(column("b|a", "a|z", None, "b"), "x")
    labels, blank = TASK.encode(cells, ["a", "b"])
    assert labels.tolist() == [[1, 1], [-1, -1], [-1, -1], [0, 1]] and labels.dtype == np.int8
    assert blank.tolist() == [False, False, True, False]
    assert TASK.fault(["a", "z", "y"], ["a", "b"]) == "'z', 'y': no tags of the training split"


def test_splits_see_the_rarest_tag_of_a_row() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [-1, -1, -1], [1, 0, 1], [0, 1, 0]])
    assert TASK.strata(labels).tolist() == [1, 0, 3, -1, 2, 1]  # tag 2 is rarer than 1, and 1 than 0; 3: no tag


def test_guess_gives_as_many_of_the_commonest_tags_as_rows_have() -> None:
    labels = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0]], np.int8)  # 6 tags in 4 rows
    assert (TASK.guess(labels, np.zeros(4, int), 1) > 0).tolist() == [[True, True, False]]  # 1.5, so 2
    assert (TASK.guess(labels, np.array([0, 0, 1, 1]), 2) > 0).tolist() == [[True, True, False], [True, False, False]]


def test_threshold_parts_the_rows_that_have_a_tag() -> None:
    wanted = np.array([True] * 5 + [False] * 15)
    logits = np.where(wanted, -2.0, -4.0)[:, None]
    facts = TASK.fit(logits, wanted[:, None].astype(np.int8))
    assert facts == {"thresholds": [-3.0]}
    told = TASK.with_facts(facts)
    assert told.score(logits, wanted[:, None].astype(np.int8)) == 1.0
    assert TASK.score(logits, wanted[:, None].astype(np.int8)) == 0.75  # at 0 no tag is given, which 15 rows are right with


def test_threshold_stays_where_few_rows_have_the_tag() -> None:
    assert TASK.fit(np.arange(20.0)[:, None], np.eye(20, 1, dtype=np.int8)) == {"thresholds": [0.0]}


def test_answers_need_finite_logits() -> None:
    told = TASK.with_facts({"thresholds": [0.5, -0.5]})
    logits = np.array([[0.4, -0.4], [0.6, np.nan]])
    assert told.answers(logits).tolist() == [[0, 1], [-1, -1]]
    assert told.gains(told.answers(logits), np.array([[0, 1], [1, 0]])).tolist() == [1.0, 0.0]


def test_decisions_are_told_tag_by_tag() -> None:
    margins, given = TASK.with_facts({"thresholds": [0.5, -0.5]}).decisions(np.array([[0.4, -0.4]], np.float32))
    assert given.tolist() == [False, True] and margins.tolist() == pytest.approx([0.1, 0.1], abs=1e-6)


def test_parts_count_rows_with_the_tag_or_given_it() -> None:
    parts = TASK.parts(np.array([[1, 0], [1, 0], [0, 0]]), np.array([[1, 0], [0, 0], [0, 0]]), ["a", "b"])
    assert {name: part.tolist() for name, part in parts.items()} == {"a": [True, False]}


def test_device_gives_the_same_tags() -> None:
    facts, labels = {"thresholds": [-1.0, 1.0, 0.0]}, ["a", "b", "c"]
    logits = np.array([[0.0, 0.5, 2.0]], np.float32)
    module = on_device.answerer("multi_label")
    found = module.answer({"logits": logits}, labels, facts=facts)
    assert found["tags"] == ["c", "a"]
    assert ", ".join(sorted(found["tags"])) == TASK.with_facts(facts).show(TASK.with_facts(facts).answers(logits)[0], labels)
    # sigmoid(2) = 0.8808, sigmoid(-1) = 0.2689, sigmoid(0.5) = 0.6225, sigmoid(1) = 0.7311
    assert module.lines(found) == [
        "c, a",
        "  0.881  c (given from 0.500)",
        "  0.500  a (given from 0.269)",
        "  0.622  b (given from 0.731)",
    ]
    assert module.lines(module.answer({"logits": logits - 9}, labels, facts=facts))[0] == "none"
