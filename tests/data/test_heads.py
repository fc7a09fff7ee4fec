"""Several labels a row: read from files of each form, rows that lack some kept, and faults of a head named before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data.manifest import manifest
from compress.data.prepare import open_data, prepare
from compress.errors import DataError
from compress.reporting.data_sheet import data_markdown
from compress.tasks.labels import known, unlabelled

HEADS = {"state": {}, "price": {"task": "regression", "column": "cost"}, "tags": {"task": "multi_label"}}


def rows(count: int = 40) -> list[dict[str, Any]]:
    """Each third row lacks the state, and each tenth has the price alone."""
    return [
        {
            "text": f"text {place} {place * place}",
            "state": None if place % 3 == 0 else ("up", "down")[place % 2],
            "cost": float(place),
            "tags": None if place % 10 == 0 else ["hot"] if place % 2 else ["hot", "wet"],
        }
        for place in range(count)
    ]


@pytest.fixture
def make(config: Callable, tmp_path: Path) -> Callable[..., dict]:
    """The report of these rows as JSON Lines."""

    def make(train: list[dict], test: list[dict] | None = None, heads: dict[str, Any] = HEADS, **changes: Any) -> dict:
        for name, some in (("train", train), ("test", rows(10) if test is None else test)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        section = config(inputs={"text": {"length": 8}}, task="several", heads=heads, **changes)
        columns = {name: head["column"] for name, head in section.room["data_heads"].items()}
        source = manifest(base=tmp_path, train="train.jsonl", test="test.jsonl", data_heads=columns)
        return prepare(source, section, tmp_path / "out", say=lambda line: None)

    return make


def test_rows_with_any_head_stay_and_each_head_is_counted(make: Callable, tmp_path: Path) -> None:
    report = make(rows(), validation_fraction=0.25)
    whole = {name: sum(report["splits"][split]["heads"][name]["labelled_rows"] for split in ("train", "validation")) for name in HEADS}
    assert whole == {"state": 26, "price": 40, "tags": 36}
    assert report["splits"]["test"]["heads"]["tags"]["label_counts"] == {"hot": 9, "wet": 4}
    data = open_data(tmp_path / "out")
    assert data.labels == ["state: down", "state: up", "price", "tags: hot", "tags: wet"]
    labels = np.asarray(data.split("test").labels)
    assert labels.dtype == np.float32 and labels.shape == (10, 4) and known(labels).all()
    assert data.task.show(labels[3], data.labels) == "state: -; price: 3; tags: hot"
    assert [head.name for head in data.task.port(data.labels).heads] == [*HEADS]
    assert 0 < report["baselines"]["majority"] < 1


def test_sheet_of_the_data_has_a_table_for_each_head(make: Callable, tmp_path: Path) -> None:
    make(rows())
    text = data_markdown(open_data(tmp_path / "out"))
    assert all(title in text for title in ("| Labels: state", "| Numbers: price", "| Labels: tags"))


def test_a_csv_gives_the_same_labels(make: Callable, write_csv: Callable, tmp_path: Path) -> None:
    make(rows())
    labels = np.asarray(open_data(tmp_path / "out").split("test").labels)
    plain = [{**row, "tags": "|".join(row["tags"] or [])} for row in rows()]
    write_csv(tmp_path / "plain.csv", plain)
    write_csv(tmp_path / "plain_test.csv", plain[:10])
    columns = {"state": "state", "price": "cost", "tags": "tags"}
    made = json.loads((tmp_path / "out" / "report.json").read_text())
    table = manifest(base=tmp_path, train="plain.csv", test="plain_test.csv", data_heads=columns).read()["test"]
    asked = open_data(tmp_path / "out").task
    asked.asked = made["task_options"]["data_heads"]
    assert np.array_equal(asked.encode(asked.cells(table.column("label"), "here"), [])[0], labels)


def test_hidden_labels_are_hidden_of_all_heads(make: Callable, tmp_path: Path) -> None:
    make(rows(), labelled_fraction=0.5)
    labels = np.asarray(open_data(tmp_path / "out").split("train").labels)
    assert 0 < (~known(labels)).sum() and np.array_equal(unlabelled(labels, 1), labels[~known(labels)][:1], equal_nan=True)


@pytest.mark.parametrize(
    ("train", "test", "heads", "message"),
    [
        ({}, {}, HEADS | {"size": {}}, r"data.options.train \(.*train.jsonl\): no column 'size' for data.heads.size"),
        ({"state": None}, {}, HEADS, "data.heads.state: no row of the training split has a label of this head; is column 'state' meant?"),
        ({"tags": None}, {}, HEADS, "data.heads.tags: no row of the training split has a tag"),
        ({"cost": "cheap"}, {}, HEADS, "data.heads.price: none of the 40 labels of the training split is a number, such as 'cheap'"),
        ({"cost": 7}, {}, HEADS, "data.heads.price: value is 7 in all 40 rows of the training split: there is nothing to learn"),
        ({"state": "up"}, {"state": "up"}, HEADS, "data.heads.state: the training split has 1 labels"),
        ({}, {"tags": None}, HEADS, "data.heads.tags: no row of test has a label of this head; label some, or leave the head out"),
        ({}, {"state": "sideways"}, HEADS, "an unknown answer of a head: 10 rows\n    test row 1: data.heads.state: 'sideways' is no label"),
        ({}, {"state": None, "cost": None, "tags": None}, HEADS, "no label: 10 rows"),
        ({"tags": ["hot"]}, {}, HEADS, "data.heads.tags: every row of the training split has exactly one tag"),
        ({}, {}, HEADS | {"state": {"column": "cost"}}, "column 'label', data.heads.state is double, but a label is a name or a whole number"),
    ],
)  # fmt: skip
def test_fault_of_a_head_is_named(make: Callable, train: dict, test: dict, heads: dict, message: str) -> None:
    changed = [{**row, **train} for row in rows()]
    with pytest.raises(DataError, match=message):
        make(changed, [{**row, **test} for row in rows(10)], heads)
