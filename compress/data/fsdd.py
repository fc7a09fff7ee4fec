"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz (CC BY-SA 4.0), from a clone of its repository.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

The files in its folder `recordings` are named digit_speaker_take.wav. A Parquet file with the columns audio, label and speaker is read as well.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

TEST_SPEAKERS = ("theo", "yweweler")
DIGITS = tuple("0123456789")
_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def fsdd(*, base: Path, path: str, test_speakers: list[str] | None = None) -> Source:
    """The recordings in `path` (relative to the recipe); those of `test_speakers` (theo and yweweler) are the test split, and each speaker is a group.

    Nobody is in both splits, because a model of six people's voices learns the people. Kinds are the speakers, so that the report scores each.
    """
    place, held = base / path, list(test_speakers or TEST_SPEAKERS)
    if not place.exists():
        raise DataError(
            f"data.options.path: {place} is not there; 'git clone https://github.com/Jakobovski/free-spoken-digit-dataset' fetches the recordings"
        )
    files = [place] if place.is_file() else _recordings(place)
    digest = hashlib.sha256("\n".join(f"{file.name} {_hash(file)}" for file in files).encode()).hexdigest()
    return Source(
        identity=f"fsdd {digest} {' '.join(held)}",
        read=lambda: _read(place, files, held),
        licence="CC BY-SA 4.0 (Zohar Jackson and others)",
    )


def _recordings(folder: Path) -> list[Path]:
    """The recordings in a clone, or in its folder `recordings`."""
    found = sorted(file for file in [*folder.glob("*.wav"), *folder.glob("recordings/*.wav")] if _NAME.fullmatch(file.name))
    if not found:
        raise DataError(f"data.options.path: {folder} holds no file named digit_speaker_take.wav, nor does its folder recordings")
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(place: Path, files: list[Path], held: list[str]) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _parquet(place) if place.is_file() else _named(files)
    speakers = table.column("group")
    if absent := sorted(set(held) - set(speakers.unique().to_pylist())):
        known = ", ".join(sorted(speakers.unique().to_pylist()))
        raise DataError(f"data.options.test_speakers: nobody is called {', '.join(absent)}; the speakers are {known}")
    test = pc.is_in(speakers, value_set=pa.array(held))
    return {"train": table.filter(pc.invert(test)), "test": table.filter(test)}


def _named(files: list[Path]) -> pa.Table:
    parts = [match.groups() for file in files if (match := _NAME.fullmatch(file.name))]
    return _table([str(file.resolve()) for file in files], [digit for digit, _, _ in parts], [speaker for _, speaker, _ in parts])


def _parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    columns = ["audio", "label", "speaker"]
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if not set(columns) <= set(names):
            raise DataError(f"data.options.path: {path} needs the columns {', '.join(columns)}; found {', '.join(names) or 'none'}")
        found = file.read(columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"data.options.path: {path}: not readable as Parquet: {error}") from error
    return _table(found.column("audio"), found.column("label").cast(pa.string()), found.column("speaker"))


def _table(audio: object, labels: object, speakers: object) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pa.array(DIGITS)
    label = pc.index_in(pa.array(labels) if isinstance(labels, list) else labels, digits)
    label = label.combine_chunks() if isinstance(label, pa.ChunkedArray) else label
    return pa.table({"audio": audio, "label": pa.DictionaryArray.from_arrays(label, digits), "group": speakers, "kind": speakers})
