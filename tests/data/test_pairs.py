"""Rows that share an input are alike, where nobody says who is."""

from __future__ import annotations

import pyarrow as pa

from compress.data.pairs import name_alike


def names(image: list, text: list, *, test: tuple[list, list] = ([], [])) -> list[str]:
    def table(image: list, text: list) -> pa.Table:
        return pa.table({"image": pa.array(image, pa.string()), "text": pa.array(text, pa.string())})

    tables = name_alike({"train": table(image, text), "test": table(*test)}, ("image", "text"), "label")
    return [*tables["train"].column("label").to_pylist(), *tables["test"].column("label").to_pylist()]


def test_texts_of_one_picture_are_alike_and_pictures_of_one_text():
    assert names(["a", "a", "b", "c"], ["x", "y", "z", "z"]) == ["0", "0", "1", "1"]


def test_likeness_goes_on_through_other_rows_and_splits():
    # a has the text y, which c of the test split has too
    assert names(["a", "a", "b"], ["x", "y", "z"], test=(["c", "d"], ["y", "v"])) == ["0", "0", "1", "0", "2"]


def test_blank_cells_join_nothing():
    assert names(["a", "b", "c"], [None, " ", "x"]) == ["0", "1", "2"]


def test_contents_of_files_are_told_apart():
    rows = {"image": pa.array([b"1", b"2", b"1"]), "text": pa.array(["x", "y", "z"])}
    tables = name_alike({"train": pa.table(rows)}, ("image", "text"), "label")
    assert tables["train"].column("label").to_pylist() == ["0", "1", "0"]
