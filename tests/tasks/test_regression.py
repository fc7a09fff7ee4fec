"""Numbers: how cells are read, in what scale they are learnt, what a gain is, and the same answer on a device."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from compress.device import tasks as on_device
from compress.errors import DataError
from compress.tasks.task import task

TASK = task("regression")
CELLS = pa.chunked_array([pa.array(["1", "3", "5", "7", " ", "x", "nan", "1 2"])])


def known(cells: pa.ChunkedArray = CELLS):
    names = TASK.names(cells)
    return TASK.with_facts(TASK.learn(cells, names)), names


def test_scale_is_that_of_the_training_numbers() -> None:
    told, names = known()
    assert names == ["value"]
    # 1 3 5 7: mean 4, deviation sqrt 5; distances from the median 3 1 1 3, so 2 / sqrt 5 deviations
    assert told.facts["mean"] == [4.0]
    assert told.facts["deviation"] == pytest.approx([5**0.5]) and told.facts["spread"] == pytest.approx([2 / 5**0.5])


def test_cells_that_are_no_numbers_are_told_from_blank_ones() -> None:
    told, names = known()
    labels, blank = told.encode(CELLS, names)
    assert labels.dtype == np.float32 and labels.shape == (8, 1)
    assert np.isnan(labels[:, 0]).tolist() == [False] * 4 + [True] * 4
    assert blank.tolist() == [False] * 4 + [True] + [False] * 3
    assert told.fault("1 2", names) == "'1 2' is not a number"


@pytest.mark.parametrize("values", [["1 2", "3 5"], ["1;2", "[3, 5]"], [[1.0, 2.0], [3.0, 5.0]], [[1, 2], [3, 5]]])
def test_several_numbers_are_lists_or_texts(values: list) -> None:
    cells = TASK.cells(pa.chunked_array([pa.array(values)]), "x")
    told, names = known(cells)
    assert names == ["value 1", "value 2"]
    assert told.encode(cells, names)[0].tolist() == [[-1.0, -1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["cat", "dog"], "none of the 2 labels of the training split is a number, such as 'cat'; data.task: single_label"),
        (["2", "2.0"], "value is 2 in all 2 rows of the training split: there is nothing to learn"),
    ],
)
def test_labels_of_another_task_are_refused(values: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        known(pa.chunked_array([pa.array(values)]))


def test_lists_of_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"x is list<.*string>, but numbers, lists of numbers or texts of numbers are needed"):
        TASK.cells(pa.chunked_array([pa.array([["a"]])]), "x")


def test_gain_is_the_share_of_the_spread_that_is_explained() -> None:
    told = TASK.with_facts({"mean": [0.0], "deviation": [1.0], "spread": [0.5]})
    labels, answers = np.array([[1.0], [1.0], [1.0], [np.nan]]), np.array([[1.0], [0.75], [2.0], [1.0]])
    assert told.gains(answers, labels).tolist() == [1.0, 0.5, -1.0, 0.0]
    assert told.score(answers, labels) == pytest.approx(0.5 / 3)


def test_guess_is_the_median_of_each_code() -> None:
    labels = np.array([[1.0], [9.0], [2.0], [4.0], [7.0]], np.float32)
    assert TASK.guess(labels, np.array([0, 0, 0, 2, 2]), 3).tolist() == [[2.0], [0.0], [5.5]]


def test_splits_see_tenths_of_the_rows() -> None:
    labels = np.append(np.arange(100.0), np.nan)[:, None]
    assert np.bincount(TASK.strata(labels)[:100]).tolist() == [10] * 10 and TASK.strata(labels)[100] == -1


def test_metrics_are_in_the_unit_of_the_data() -> None:
    told = TASK.with_facts({"mean": [100.0], "deviation": [10.0], "spread": [1.0]})
    labels, logits = np.array([[0.0], [1.0], [2.0]]), np.array([[0.1], [1.1], [2.1]])
    found = {name: metric.compute(logits, labels) for name, metric in told.metrics.items()}
    assert found["mean_absolute_error"] == pytest.approx(1.0) and found["spearman"] == pytest.approx(1.0)
    assert found["error_explained"] == pytest.approx(0.9)


def test_parts_are_quarters_of_the_rows() -> None:
    told = TASK.with_facts({"mean": [0.0], "deviation": [1.0], "spread": [1.0]})
    labels = np.arange(8.0)[:, None]
    parts = told.parts(labels, labels, ["value"])
    assert [len(part) for part in parts.values()] == [2, 2, 2, 2] and next(iter(parts)) == "value 0 to 1.75"


def test_device_gives_the_same_number() -> None:
    facts = {"mean": [100.0, 1.0], "deviation": [10.0, 2.0], "spread": [1.0, 1.0]}
    module, logits = on_device.answerer("regression"), np.array([[-0.5, 1.0]], np.float32)
    found = module.answer({"logits": logits}, ["value 1", "value 2"], facts=facts)
    assert found == {"value 1": 95.0, "value 2": 3.0}
    assert module.lines(found) == ["value 1  95", "value 2  3"]
    assert TASK.with_facts(facts).show(logits[0], ["value 1", "value 2"]) == "95, 3"
    assert module.lines(module.answer({"logits": logits[:, :1]}, ["value"], facts=facts)) == ["95"]
