"""What one column of a user's file holds, told by its values: pictures, words, whole numbers ... An Arrow column in, a `Profile` out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compress.modalities.picture_sizes import are_pictures
from compress.modalities.sound_lengths import SUFFIXES as SOUNDS
from compress.modalities.sound_lengths import are_sounds

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["picture", "missing picture", "sound", "missing sound", "address", "words", "whole", "real", "date", "file", "other"]
SAMPLE = 200  # distinct values looked at
MOST = 0.8  # share of the sample that decides what a column is: a few cells may be broken
SUFFIXES = frozenset(".jpg .jpeg .png .gif .bmp .webp .tif .tiff .ppm .pgm .avif .jp2 .ico".split())
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?")
_REAL = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|nan|inf", re.I)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?")
_ADDRESS = re.compile(r"(https?|s3|gs|ftp)://\S+")


@dataclass(frozen=True)
class Profile:
    """One column of the training file; what is blank counts for nothing."""

    name: str
    form: Form
    rows: int
    filled: int  # rows that are not blank
    distinct: int
    words: float  # a value, on average; 0 where values are no strings
    letters: float  # share of the sample that has a letter of any script
    seen: float  # share of the test rows whose value a training row has too
    example: str

    @property
    def repeated(self) -> float:
        """1 where all rows have one value, 0 where every row has its own."""
        return 1 - self.distinct / max(self.filled, 1)

    def __str__(self) -> str:
        """One line for a message, such as `"class": words, 12 different ones in 240 rows, such as "cat"`."""
        if not self.filled:
            return f'"{self.name}": empty'
        empty = f", {self.rows - self.filled:,} blank" if self.filled < self.rows else ""
        return f'"{self.name}": {_NAMES[self.form]}, {self.distinct:,} different in {self.filled:,} rows{empty}, such as {self.example}'


_NAMES: dict[Form, str] = {
    "picture": "pictures",
    "missing picture": "paths of pictures that are not there",
    "sound": "sounds",
    "missing sound": "paths of sounds that are not there",
    "address": "addresses",
    "words": "words",
    "whole": "whole numbers",
    "real": "numbers with fractions",
    "date": "dates",
    "file": "names of files",
    "other": "neither words nor numbers",
}


def profile(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray, *, folder: Path) -> Profile:
    """What the column `name` of the training file holds; `test` is the same column there, paths start at `folder`."""
    import pyarrow as pa

    if pa.types.is_dictionary(train.type):
        train, test = train.cast(train.type.value_type), test.cast(train.type.value_type)
    kind = train.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return _strings(name, train.cast(pa.string()), test.cast(pa.string()), folder)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _plain(name, train, test, "whole")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _plain(name, train, test, "real")
    if pa.types.is_temporal(kind):
        return _plain(name, train.cast(pa.string()), test, "date")
    return _content(name, train, folder)


def blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """(R,) bool: null, or a string of white space alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        return pc.is_null(column)
    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(column, "")), "")


def spread(values: pa.Array | pa.ChunkedArray, count: int) -> list:
    """At most `count` values, evenly spread."""
    step = max(1, -(-len(values) // count))
    return [values[index].as_py() for index in range(0, len(values), step)]


def shown(value: object, *, most: int = 40) -> str:
    """A value in quotes as a message or a comment shows it: on one line, and not for long."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return f'"{line if len(line) <= most else line[: most - 3] + "..."}"'


def _strings(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray, folder: Path) -> Profile:
    import pyarrow.compute as pc

    sample = spread(train.filter(pc.invert(blank(train))).unique(), SAMPLE)
    words = sum(len(value.split()) for value in sample) / max(len(sample), 1)
    letters = sum(any(letter.isalpha() for letter in value) for value in sample) / max(len(sample), 1)
    return _plain(name, train, test, _form(sample, folder), words=words, letters=letters)


def _form(sample: list[str], folder: Path) -> Form:
    """What strings are."""

    if not sample:
        return "words"

    def are(pattern: re.Pattern[str], share: float = 1.0) -> bool:
        return sum(bool(pattern.fullmatch(value.strip())) for value in sample) >= share * len(sample)

    paths = [os.path.join(folder, value) for value in sample]
    there = [path for path in paths if os.path.isfile(path)]
    endings = [os.path.splitext(path)[1].lower() for path in paths]
    named = sum(ending in SUFFIXES for ending in endings) >= MOST * len(paths)
    heard = sum(ending in SOUNDS for ending in endings) >= MOST * len(paths)
    most_there = len(there) >= MOST * len(paths)
    if are(_ADDRESS, MOST):
        return "address"
    if there and (named or heard or most_there):
        if heard or (not named and are_sounds(there, most=MOST)):
            return "sound"
        return "picture" if named or are_pictures(there, most=MOST) else "file"
    if named or heard:
        return "missing picture" if named else "missing sound"
    return "whole" if are(_WHOLE) else "real" if are(_REAL) else "date" if are(_DATE) else "words"


def _content(name: str, train: pa.ChunkedArray, folder: Path) -> Profile:
    """A column of binary values or structs: pictures or sounds, if the first few of them are."""
    import pyarrow.compute as pc

    from compress.errors import DataError
    from compress.modalities.cells import file_column

    try:
        column = file_column(train, folder, name)
    except DataError:
        return Profile(name, "other", len(train), len(train), len(train), 0, 0, 0, f"a {train.type}")
    there = pc.indices_nonzero(column.is_valid())  # views of a shard cannot be filtered
    values = [column[index].as_py() for index in spread(there, 20)]
    form: Form = "other"
    if values:
        form = "picture" if are_pictures(values, most=MOST) else "sound" if are_sounds(values, most=MOST) else "other"
    return Profile(name, form, len(train), len(there), len(train), 0, 0, 0, f"a {train.type}")


def _plain(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray, form: Form, *, words: float = 0, letters: float = 0) -> Profile:
    import pyarrow.compute as pc

    filled = train.filter(pc.invert(blank(train)))
    different = filled.unique()
    known = 0.0
    if test.type == train.type and len(tested := test.filter(pc.invert(blank(test)))):
        known = pc.mean(pc.is_in(tested, value_set=different)).as_py()
    example = shown(different[0].as_py()) if len(different) else ""
    return Profile(name, form, len(train), len(filled), len(different), words, letters, known, example)
