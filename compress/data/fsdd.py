"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz (CC BY-SA 4.0), from a clone of its repository.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

The files in its folder `recordings` are named digit_speaker_take.wav. A Parquet file with the columns audio, label and speaker is read as well.
A row is a recording and its digit, or, for verification, several recordings of one speaker behind each other, and the speaker.
"""

from __future__ import annotations

import hashlib
import io
import re
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compress.data.source import Source
from compress.errors import DataError, RecipeError

if TYPE_CHECKING:
    import pyarrow as pa

TEST_SPEAKERS = ("theo", "yweweler")
DIGITS = tuple("0123456789")
_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def fsdd(
    *,
    base: Path,
    path: str,
    test_speakers: list[str] | None = None,
    label: Literal["digit", "speaker"] = "digit",
    joined: int = 1,
) -> Source:
    """The recordings in `path` (relative to the recipe); those of `test_speakers` (theo and yweweler) are the test split, and each speaker is a group.

    Nobody is in both splits, because a model of six people's voices learns the people. Kinds are the speakers, so that the report scores each; where `label` is the speaker, they are the digits. `joined`: so many recordings of a
    speaker, shuffled, stand behind each other in each row; the digits are then no label.
    """
    if joined < 1 or (joined > 1 and label == "digit"):
        raise RecipeError(f"data.options.joined: {joined}; 1 or more, and more than 1 only where data.options.label is speaker")
    place, held = base / path, list(test_speakers or TEST_SPEAKERS)
    if not place.exists():
        raise DataError(
            f"data.options.path: {place} is not there; 'git clone https://github.com/Jakobovski/free-spoken-digit-dataset' fetches the recordings"
        )
    files = [place] if place.is_file() else _recordings(place)
    digest = hashlib.sha256("\n".join(f"{file.name} {_hash(file)}" for file in files).encode()).hexdigest()
    return Source(
        identity=f"fsdd {digest} {' '.join(held)} {label} {joined}",
        read=lambda: _read(place, files, held, label=label, joined=joined),
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


def _read(place: Path, files: list[Path], held: list[str], *, label: str, joined: int) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _parquet(place) if place.is_file() else _named(files)
    speakers = table.column("group")
    if absent := sorted(set(held) - set(speakers.unique().to_pylist())):
        known = ", ".join(sorted(speakers.unique().to_pylist()))
        raise DataError(f"data.options.test_speakers: nobody is called {', '.join(absent)}; the speakers are {known}")
    if label == "speaker":
        table = _of_speakers(table, joined)
        speakers = table.column("group")
    test = pc.is_in(speakers, value_set=pa.array(held))
    return {"train": table.filter(pc.invert(test)), "test": table.filter(test)}


def _of_speakers(table: pa.Table, joined: int) -> pa.Table:
    """The same recordings with the speaker as label; or rows of `joined` recordings of one speaker each, what is left over left out."""
    import numpy as np
    import pyarrow as pa

    if joined == 1:
        kinds = table.column("label").cast(pa.string())
        return pa.table({"audio": table.column("audio"), "label": table.column("group"), "group": table.column("group"), "kind": kinds})
    speakers, audio = np.array(table.column("group").to_pylist()), table.column("audio")
    rows: dict[str, list] = {"audio": [], "label": []}
    for speaker in sorted(set(speakers)):
        places = np.random.default_rng(0).permutation(np.flatnonzero(speakers == speaker))
        for part in places[: len(places) // joined * joined].reshape(-1, joined):
            rows["audio"].append(_behind_each_other([audio[int(row)].as_py() for row in part]))
            rows["label"].append(speaker)
    if not rows["label"]:
        raise DataError(f"data.options.joined: {joined} recordings are more than any speaker has")
    return pa.table({**rows, "group": rows["label"]})


def _behind_each_other(recordings: list[str | bytes]) -> bytes:
    """One WAV file of several of one form, paths or contents."""
    out, forms, frames = io.BytesIO(), set(), []
    for recording in recordings:
        try:
            with wave.open(recording if isinstance(recording, str) else io.BytesIO(recording)) as sound:
                forms.add(sound.getparams()[:3])
                frames.append(sound.readframes(sound.getnframes()))
        except (wave.Error, EOFError, OSError) as error:
            raise DataError(f"data.options.joined: {str(recording)[:60]} cannot be read as WAV: {error}") from error
    if len(forms) > 1:
        raise DataError(f"data.options.joined: recordings of one speaker have several forms: {sorted(forms)} (channels, bytes, rate)")
    (form,) = forms
    with wave.open(out, "wb") as sound:
        sound.setparams((*form, 0, "NONE", ""))
        sound.writeframes(b"".join(frames))
    return out.getvalue()


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
