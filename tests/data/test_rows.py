"""Distinct inputs and label sets of tables with several chunks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from compress.data.rows import BadRows, encode
from compress.tasks.task import task


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b", "", None, " "], ["a", "b"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),
    ],
)
def test_label_names_are_sorted_by_number_or_alphabet(values: list, names: list[str]) -> None:
    assert task("single_label").names(pa.chunked_array([values[:2], values[2:]])) == names


def test_label_names_of_a_dictionary_keep_its_order() -> None:
    chunk = pa.DictionaryArray.from_arrays(pa.array([2, 0, None]), pa.array(["z", "unused", "a"]))
    assert task("single_label").names(pa.chunked_array([chunk])) == ["z", "a"]


@pytest.mark.parametrize("cell", [str, str.encode])
def test_encode_finds_equal_inputs_across_chunks(cell: Callable, config: Callable) -> None:
    values = [cell(value) for value in "cabcab"]
    table = pa.table(
        {"image": pa.chunked_array([values[:1], values[1:4], values[4:]]), "label": pa.chunked_array([list("xyx"), list("yxy")])}
    )
    rows = encode(
        "train", table, config(), modalities=("image",), task=task("single_label"), labels=["x", "y"], kinds=[], groups=[], bad=BadRows()
    )
    assert rows.codes["image"].tolist() == [0, 1, 2, 0, 1, 2]
    assert [rows.inputs["image"].value(index) for index in range(3)] == [cell("c"), cell("a"), cell("b")]
    assert rows.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_keep_drops_unused_inputs_and_remembers_row_numbers(config: Callable) -> None:
    table = pa.table({"text": ["a", "b", "c", "b"], "label": ["x", "y", "x", "y"]})
    rows = encode(
        "train", table, config(), modalities=("text",), task=task("single_label"), labels=["x", "y"], kinds=[], groups=[], bad=BadRows()
    )
    kept = rows.keep(np.array([False, True, True, True]))
    assert kept.number.tolist() == [2, 3, 4] and kept.codes["text"].tolist() == [0, 1, 0]
    assert kept.inputs["text"].keys.to_pylist() == ["b", "c"]


def test_row_bad_for_two_reasons_is_one_row(config: Callable) -> None:
    bad = BadRows()
    encode(
        "train",
        pa.table({"text": ["", "a"], "label": ["", "x"]}),
        config(),
        modalities=("text",),
        task=task("single_label"),
        labels=["x"],
        kinds=[],
        groups=[],
        bad=bad,
    )
    assert bad.counts == {"empty text": 1, "no label": 1} and len(bad.rows) == 1
