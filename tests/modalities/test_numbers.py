"""Rows of numbers in their room: every way to write one gives the same values, and what is no row of numbers is told apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from compress.data.rows import Distinct
from compress.device.errors import DeviceError
from compress.device.modalities.numbers import parse
from compress.io_spec import Port
from compress.modalities.modality import modality

ROOM = modality("numbers")
WORDS = SimpleNamespace(size=3)


def inputs(*cells: Any) -> Distinct:
    """Distinct inputs as they stand in a column of a user's table."""
    column = ROOM.column(pa.chunked_array([pa.array(cells)]), Path(), "the test")
    return Distinct(pa.array(list(map(str, range(len(cells))))), column, np.arange(len(cells)))


@pytest.mark.parametrize("text", ["1 -2.5 3e2", "1, -2.5, 3e2", "1;-2.5;3e2", " [1, -2.5, 300] ", "(1\t-2.5\n300)", "1,-2.5 ,300"])
def test_strings_of_numbers_are_read_however_they_are_written(text: str) -> None:
    np.testing.assert_array_equal(parse(text, 3), np.float32([1, -2.5, 300]))


@pytest.mark.parametrize("value", [[1, -2.5, 300], (1.0, -2.5, 300.0), np.array([1, -2.5, 300]), b"1 -2.5 300"])
def test_values_from_a_program_are_read(value: Any) -> None:
    np.testing.assert_array_equal(parse(value, 3), np.float32([1, -2.5, 300]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 2", "2 numbers, but the model reads 3"),
        ("1 2 3 4", "4 numbers, but the model reads 3"),
        ("1 nan 2", "number 2 is not finite"),
        ("1 2 1e39", "number 3 is not finite"),  # beyond float32
        ("1 two 3", "not all of '1 two 3' are numbers"),
        ("", "not all of "),
        ([1, None, 2], "is not finite|are numbers"),
        ([[1], [2, 3]], "are numbers"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        parse(value, 3)


@pytest.mark.parametrize("cells", [("1 2 3", "4 5 6.5"), ([1, 2, 3], [4, 5, 6.5]), ([1.0, 2.0, 3.0], [4.0, 5.0, 6.5])])
def test_rows_are_stored_as_float32(tmp_path: Path, cells: tuple) -> None:
    assert ROOM.store(inputs(*cells), {"numbers": WORDS}, folder=tmp_path, threads=1) == {}
    found = ROOM.open(tmp_path, "numbers")
    assert found.dtype == np.float32 and found.tolist() == [[1, 2, 3], [4, 5, 6.5]]


def test_rows_that_cannot_be_read_are_told_by_their_number(tmp_path: Path) -> None:
    failures = ROOM.store(inputs([1.0, 2.0, 3.0], [1.0], [1.0, None, 3.0]), {"numbers": WORDS}, folder=tmp_path, threads=1)
    assert failures == {1: ("unusable numbers", "1 numbers, but the model reads 3"), 2: ("unusable numbers", "number 2 is not finite")}
    assert ROOM.open(tmp_path, "numbers").tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0]]


def test_port_is_one_float32_a_number() -> None:
    assert ROOM.port(WORDS, None) == Port("numbers", "float32", (3,))


def test_report_shows_the_first_twelve() -> None:
    assert ROOM.show(np.float32([[1, 2.25]]), 0) == "1 2.25"
    assert ROOM.show(np.arange(13, dtype=np.float32)[None], 0) == "0 1 2 3 4 5 6 7 8 9 10 11 ..."
    assert ROOM.show(np.float32([[123456.7, 1 / 3]]), 0) == "1.235e+05 0.3333"


def test_kept_numbers_are_a_text_however_they_came() -> None:
    assert ROOM.as_cell([1, 0.25]) == ROOM.as_cell("1 0.25")
