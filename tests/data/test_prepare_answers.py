"""What data preparation makes of answers of each kind: splits, counts, baselines, and one clear line for those of another kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.data.prepare import open_data, prepare
from compress.errors import DataError
from compress.tasks.labels import known


@pytest.fixture
def prepared(make_source: Callable, config: Callable, tmp_path: Path) -> Callable:
    """The report of rows of a text of its own and these answers; the test split repeats the first ten."""

    def make(answers: list, *, test: list | None = None, **changes: object) -> dict:
        rows = [{"text": f"text {index} {index * index}", "label": answer} for index, answer in enumerate(answers)]
        tables = {"train": rows, "test": [{"text": "new", "label": answer} for answer in (answers[:10] if test is None else test)]}
        return prepare(make_source(tables), config(inputs={"text": {"length": 8}}, **changes), tmp_path / "out", say=print)

    return make


def test_tags_are_counted_and_each_stays_in_train(prepared: Callable, tmp_path: Path) -> None:
    report = prepared(["a|b", "a", "b", "a|b|c"] * 10, task="multi_label", validation_fraction=0.25)
    train, validation = report["splits"]["train"], report["splits"]["validation"]
    assert {tag: train["label_counts"][tag] + validation["label_counts"][tag] for tag in "abc"} == {"a": 30, "b": 30, "c": 10}
    assert validation["rows"] == 10 and validation["label_counts"]["c"] in (2, 3)  # a quarter of the ten
    assert report["baselines"]["majority"] == pytest.approx(
        (1 + 2 / 3 + 2 / 3 + 4 / 5 + 1 + 2 / 3 + 2 / 3 + 4 / 5 + 1 + 2 / 3) / 10
    )  # a and b
    assert open_data(tmp_path / "out").split("train").labels.shape == (30, 3)


def test_numbers_keep_their_scale_and_hidden_ones_have_none(prepared: Callable, tmp_path: Path) -> None:
    report = prepared([float(index) for index in range(40)], task="regression", validation_fraction=0.25, labelled_fraction=0.5)
    assert report["facts"]["mean"] == [19.5]
    data = open_data(tmp_path / "out")
    assert data.task.facts == report["facts"]
    train, validation = data.split("train"), data.split("validation")
    assert known(train.labels).sum() == 15 and known(validation.labels).all() and len(validation) == 10
    raw = validation.labels[:, 0] * report["facts"]["deviation"][0] + 19.5
    assert np.histogram(raw, bins=[0, 10, 20, 30, 40])[0].min() >= 1  # spread over the range


@pytest.mark.parametrize(
    ("task", "answers", "test", "message"),
    [
        ("regression", [1.0, 2.0, 4.0] * 5, ["3.5", "cat"], r"no number: 1 row\n    test row 2: 'cat' is not a number"),
        ("regression", ["1", "2", "x"] * 5, ["3.5"], r"no number: 5 rows\n    train row 3: 'x' is not a number"),
        ("regression", ["cat", "dog"] * 5, ["3.5"], "none of the 10 labels of the training split is a number, such as 'cat'"),
        ("multi_label", ["a|b", "a"] * 5, ["b", "a|d"], r"unknown tag: 1 row\n    test row 2: 'd': no tag of the training split"),
        ("multi_label", ["a;b", "a"] * 5, ["a"], "exactly one tag, such as 'a;b': set data.task_options.separator"),
        ("multi_label", ["a|b", ""] * 5, ["a"], r"no label: 5 rows(.|\n)*blank_is_none: true\} takes a blank cell"),
        ("multi_label", [1.5, 2.5] * 5, [1.5], "data: train: column 'label' is double, but tags are texts or lists"),
        ("single_label", [1.5, 2.5] * 5, [1.5], "column 'label' is double, but a label is a name or a whole number; data.task: regression"),
        ("single_label", [["a"], ["b"]] * 5, [["a"]], "but a label is a name or a whole number; data.task: .*multi_label"),
    ],
)
def test_answers_of_another_task_are_told_before_training(prepared: Callable, task: str, answers: list, test: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(answers, test=test, task=task)
