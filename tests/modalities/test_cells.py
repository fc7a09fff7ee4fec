"""Columns of users' tables as strings, paths, file contents and rows of float32 values; what nobody meant is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from compress.errors import DataError
from compress.modalities.cells import file_column, float_column, text_column, word_column

PLACE = "data.options.train (rows.parquet): column 'x'"


def column(*values: object, type: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type)])


@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_text_keeps_strings_as_they_are_written(type: pa.DataType) -> None:
    found = text_column(column("007", " NA ", None, "007", type=type), PLACE)
    assert found.type == pa.string()
    assert found.to_pylist() == ["007", " NA ", None, "007"]


def test_text_column_with_nothing_in_it_is_blank() -> None:
    assert text_column(column(None, None), PLACE).to_pylist() == [None, None]


@pytest.mark.parametrize("values", [(1, 2), (1.5,), (b"abc",), (["a"],), (True,)])
def test_text_refuses_what_is_no_string(values: tuple) -> None:
    with pytest.raises(DataError, match=r"^data\.options\.train \(rows\.parquet\): column 'x' is \S+.*, but strings are needed$"):
        text_column(column(*values), PLACE)


def test_lists_of_words_are_joined_by_spaces() -> None:
    assert word_column(column(["ann", "saw"], None, []), PLACE).to_pylist() == ["ann saw", None, ""]
    assert word_column(column("as it is"), PLACE).to_pylist() == ["as it is"]
    for broken in ("new york", "", None):
        with pytest.raises(DataError, match="column 'x': .* is no word; give words without spaces"):
            word_column(column(["ann", broken]), PLACE)
    with pytest.raises(DataError, match="strings or lists of words are needed"):
        word_column(column([1, 2]), PLACE)


def test_file_paths_start_at_the_folder_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = file_column(column("a/b.png", "/abs/c.png", "", None), Path("data"), PLACE)
    assert found.to_pylist() == [f"{tmp_path}/data/a/b.png", "/abs/c.png", "", None]  # a blank cell stays blank
    assert os.path.isabs(found[0].as_py())


@pytest.mark.parametrize("type", [pa.binary(), pa.large_binary()])
def test_file_contents_stay_as_they_are(type: pa.DataType) -> None:
    given = column(b"one", None, type=type)
    assert file_column(given, Path("data"), PLACE).equals(given)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([{"bytes": b"one", "path": "a.png"}, {"bytes": None, "path": "b.png"}], [b"one", None]),  # contents count where there are any
        ([{"bytes": None, "path": "a.png"}, {"bytes": None, "path": None}], ["/data/a.png", None]),
    ],
)
def test_file_structs_give_contents_or_else_paths(cells: list[dict], expected: list) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert file_column(column(*cells, type=kind), Path("/data"), PLACE).to_pylist() == expected


def test_file_struct_of_paths_alone_gives_paths() -> None:
    assert file_column(column({"path": "a.png"}), Path("/data"), PLACE).to_pylist() == ["/data/a.png"]


def test_file_refuses_a_struct_of_other_fields() -> None:
    with pytest.raises(DataError, match=r"column 'x' is struct<url: string>; a struct of files has the fields bytes and path"):
        file_column(column({"url": "a.png"}), Path("/data"), PLACE)


def test_file_refuses_numbers() -> None:
    with pytest.raises(DataError, match="is int64, but strings are needed"):
        file_column(column(1), Path("/data"), PLACE)


def floats(found: pa.ChunkedArray) -> list[list[float] | None]:
    return [None if cell is None else np.frombuffer(cell, np.float32).tolist() for cell in found.to_pylist()]


@pytest.mark.parametrize(
    "type", [pa.list_(pa.float64()), pa.list_(pa.int16()), pa.large_list(pa.float32()), pa.list_(pa.float64(), 2), pa.list_(pa.int64(), 2)]
)
def test_lists_of_numbers_become_float32_values(type: pa.DataType) -> None:
    found = float_column(column([1, 2], None, [-3, 40], type=type), PLACE)
    assert floats(found) == [[1.0, 2.0], None, [-3.0, 40.0]]


def test_lists_may_differ_in_length_and_lie_in_several_chunks() -> None:
    chunks = [pa.array([[9.0], [1.0, 2.0], []]).slice(1), pa.array([[0.5]])]
    assert floats(float_column(pa.chunked_array(chunks), PLACE)) == [[1.0, 2.0], [], [0.5]]


def test_one_number_a_row_is_a_list_of_one_and_none_is_none() -> None:
    assert floats(float_column(column(1.5, None, -2.0), PLACE)) == [[1.5], None, [-2.0]]
    assert floats(float_column(column(3, None), PLACE)) == [[3.0], None]


def test_integers_beyond_float32_are_rounded() -> None:
    assert floats(float_column(column(2**24 + 1), PLACE)) == [[2.0**24]]
    assert floats(float_column(column([2**24 + 1]), PLACE)) == [[2.0**24]]


def test_number_that_is_missing_in_a_list_is_not_a_number() -> None:
    ((first, second),) = floats(float_column(column([1.0, None]), PLACE))
    assert first == 1.0 and np.isnan(second)


def test_strings_of_numbers_stay_as_they_are_written() -> None:
    assert float_column(column("1, 2", None), PLACE).to_pylist() == ["1, 2", None]
    assert float_column(column(None, None), PLACE).to_pylist() == [None, None]


@pytest.mark.parametrize("values", [(["a"],), (True,), ([[1.0]],), ({"a": 1},)])
def test_what_is_no_number_is_refused(values: tuple) -> None:
    with pytest.raises(DataError, match="column 'x' is .*, but numbers, lists of numbers or strings of numbers are needed"):
        float_column(column(*values), PLACE)
