"""The two baselines on rows whose answer can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.data.baseline import describe_baselines
from compress.data.prepare import open_data, prepare


@pytest.fixture
def scored(make_source: Callable, config: Callable, tmp_path: Path) -> Callable[..., tuple]:
    def scores(train: list[tuple], test: list[tuple], **changes: object) -> tuple:
        tables = {name: [{"text": text, "label": label} for text, label in rows] for name, rows in (("train", train), ("test", test))}
        tables["validation"] = tables["test"]
        prepare(make_source(tables), config(inputs={"text": {"length": 8}}, **changes), tmp_path, say=print)
        data = open_data(tmp_path)
        found = describe_baselines(data)
        return found["majority"], found["text_alone"]

    return scores


def test_baselines_count_by_hand(scored: Callable) -> None:
    train = [("p", "a"), ("p", "a"), ("p", "b"), ("q", "b"), ("r", "b")]  # majority b; p is answered a, q and r b
    test = [("p", "a"), ("p", "b"), ("q", "b"), ("new", "b"), ("new", "a")]
    assert scored(train, test) == (pytest.approx(3 / 5), pytest.approx(3 / 5))  # b: 3 of 5; by text: 1 + 1 + 1 of 5
    assert scored(train, [("p", "a"), ("q", "b")]) == (pytest.approx(1 / 2), 1.0)


def test_unlabelled_rows_do_not_vote(scored: Callable) -> None:
    train = [("p", "a"), ("q", "b"), ("p", None), ("p", None), ("q", "b")]
    assert scored(train, [("p", "a")], allow_unlabelled=True) == (0.0, 1.0)


def test_pixels_are_not_looked_up(make_source: Callable, config: Callable, rows: dict, tmp_path: Path) -> None:
    report = prepare(make_source(rows), config(inputs={"image": {"size": 8}}), tmp_path / "out", say=print)
    assert set(report["baselines"]) == {"majority"}
