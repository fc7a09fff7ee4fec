"""What a column is, told by its values."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from compress.modalities.profiles import Profile, profile, shown, spread

WAV = b"RIFF\x24\0\0\0WAVEfmt "


def column(values: list, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def look(values: list, test: list | None = None, folder: Path = Path()) -> Profile:
    return profile("x", column(values), column(values if test is None else test), folder=folder)


def png(colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (6, 4), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["what is it?", "no"], "words"),
        (["007", "12"], "whole"),
        (["3.0", "4.0"], "whole"),  # how a table writes whole numbers where one is missing
        (["0.5", "-1e-3", "nan"], "real"),
        (["2024-01-31", "31.1.2024 10:22"], "date"),
        (["https://a.b/1.png", "https://a.b/2.png"], "address"),
        (["images/1.png", "images/2.JPG"], "missing picture"),
        (["sounds/1.wav", "sounds/2.MP3"], "missing sound"),
        (["12", "twelve"], "words"),
        (["класс 3", "类别 4"], "words"),
        ([1, 2], "whole"),
        ([True, False], "whole"),
        ([0.5, 1.5], "real"),
        ([[1, 2], [3]], "other"),
        ([b"no picture", b"at all"], "other"),
        ([WAV, WAV + b"more"], "sound"),
        ([{"bytes": WAV, "path": None}], "sound"),
    ],
    ids=str,
)
def test_form_is_told_by_the_values(values: list, form: str):
    assert look(values).form == form


def test_paths_are_pictures_where_files_are_there(tmp_path: Path):
    for name in ("a", "b.dat"):
        (tmp_path / name).write_bytes(png(1))
    (tmp_path / "c.txt").write_text("words")
    assert look(["a", "b.dat"], folder=tmp_path).form == "picture"  # whatever their names are
    assert look(["c.txt"], folder=tmp_path).form == "file"
    (tmp_path / "d.png").write_bytes(b"broken")
    assert look(["d.png", "gone.png"], folder=tmp_path).form == "picture"  # a broken or missing one is for the count of bad rows


def test_paths_are_sounds_by_their_endings_or_by_how_the_files_begin(tmp_path: Path):
    for name in ("a", "b.dat"):
        (tmp_path / name).write_bytes(WAV)
    assert look(["a", "b.dat"], folder=tmp_path).form == "sound"
    (tmp_path / "c.flac").write_bytes(b"broken")
    assert look(["c.flac", "gone.flac"], folder=tmp_path).form == "sound"


def test_contents_of_pictures_are_pictures():
    assert look([png(1), png(2)]).form == "picture"
    assert look([{"bytes": png(1), "path": None}, {"bytes": png(2), "path": None}]).form == "picture"


def test_counts_leave_blank_cells_out():
    one = look(["a", "a b", "", None, "  "], ["a", "c", ""])
    assert (one.rows, one.filled, one.distinct, one.words) == (5, 2, 2, 1.5)
    assert one.seen == 0.5  # of a and c the training file has a
    assert str(one) == '"x": words, 2 different in 2 rows, 3 blank, such as "a"'


def test_a_dictionary_is_its_words():
    values = column(["a", "b", "a"]).dictionary_encode()
    assert profile("x", values, values, folder=Path()).distinct == 2


def test_spread_takes_values_from_the_whole_column():
    assert spread(pa.array(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread(pa.array(range(3)), 5) == [0, 1, 2]


def test_shown_stays_on_one_line_and_short():
    assert shown("a\nb\u2028c") == '"a b c"'
    assert shown("x" * 50) == f'"{"x" * 37}..."'
