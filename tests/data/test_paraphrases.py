"""Paraphrases: every row of the CSV must stand for a text of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.data.paraphrases import read_paraphrases, write_paraphrases
from compress.data.prepare import open_data, prepare
from compress.errors import DataError

TEXTS = ["what colour?", "is it red?"]


def write(path: Path, *rows: str, header: str = "text,paraphrase") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_paraphrases_are_read_by_text(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", 'what colour?,"which colour, please?"', "is it red?,ist es rot? ü")
    assert read_paraphrases(path, TEXTS) == {"what colour?": "which colour, please?", "is it red?": "ist es rot? ü"}


def test_texts_may_be_without_paraphrase_and_columns_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "red?,1,is it red?", header="paraphrase,note,text")
    assert read_paraphrases(path, TEXTS) == {"is it red?": "red?"}


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.paraphrases: .*p\.csv is missing"):
        read_paraphrases(tmp_path / "p.csv", TEXTS)


@pytest.mark.parametrize("header", ["question,paraphrase", "text", ""])
def test_other_columns_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="expected text and paraphrase"):
        read_paraphrases(write(tmp_path / "p.csv", header=header), TEXTS)


def test_each_unusable_row_is_named_with_line_and_nearest_text(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "is it red?,red?", "is it rod?,rod?", "what colour?,  ", "what colour?")
    with pytest.raises(DataError) as caught:
        read_paraphrases(path, TEXTS)
    assert str(caught.value).splitlines() == [
        f"{path}:3 text 'is it rod?' is no text of the data (did you mean 'is it red?'?)",
        f"{path}:4 paraphrase of 'what colour?' is empty",
        f"{path}:5 paraphrase of 'what colour?' is empty",
    ]


def test_two_paraphrases_of_one_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "is it red?,red?", "is it red?,does it look red?")
    with pytest.raises(DataError, match=r"p\.csv:3 text 'is it red\?' has a paraphrase already"):
        read_paraphrases(path, TEXTS)


def test_many_unusable_rows_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", *(f"{i}{i}{i},x" for i in range(8)))
    with pytest.raises(DataError) as caught:
        read_paraphrases(path, TEXTS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6 and lines[-1] == "and 3 more"


def test_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("text,paraphrase\nis it red?,röt?\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"p\.csv: not a CSV file in UTF-8"):
        read_paraphrases(tmp_path / "p.csv", TEXTS)


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("\ufefftext,paraphrase\r\nis it red?,red?\r\n".encode())
    assert read_paraphrases(tmp_path / "p.csv", TEXTS) == {"is it red?": "red?"}


def test_written_paraphrases_come_back_with_the_data(rows: dict, make_source: Callable, config: Callable, tmp_path: Path) -> None:
    prepare(make_source(rows), config(), tmp_path / "out", say=lambda line: None)
    write_paraphrases(write(tmp_path / "p.csv", "is it red?,is it röd?"), open_data(tmp_path / "out"))
    assert open_data(tmp_path / "out").paraphrases == {"is it red?": "is it röd?"}
