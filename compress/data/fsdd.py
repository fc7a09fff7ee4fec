"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz (CC BY-SA 4.0), from a clone of its repository.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

The files in its folder `recordings` are named digit_speaker_take.wav. A Parquet file with the columns audio, label and speaker is read as well.
A row is a recording and its digit, or, for verification, several recordings of one speaker behind each other, and the speaker; for several
heads it has digit and speaker.
"""

from __future__ import annotations

import hashlib
import io
import re
import wave
from collections.abc import Mapping
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
    test_takes: int | None = None,
    data_heads: Mapping[str, str] | None = None,
) -> Source:
    """The recordings in `path` (relative to the recipe); those of `test_speakers` (theo and yweweler) are the test split, and each speaker is a group.

    Nobody is in both splits, because a model of six people's voices learns the people. Kinds are the speakers, so that the report scores each; where `label` is the speaker, they are the digits. `joined`: so many recordings of a
    speaker, shuffled, stand behind each other in each row; the digits are then no label. `test_takes`: the first so many takes of each digit by
    each speaker are the test split instead, as its authors have it with 5, so that every speaker is in both and none is a group; `data_heads`: head ->
    digit or speaker.
    """
    if joined < 1 or (joined > 1 and label == "digit"):
        raise RecipeError(f"data.options.joined: {joined}; 1 or more, and more than 1 only where data.options.label is speaker")
    if test_takes is not None and (test_takes < 1 or test_speakers or joined > 1):
        raise RecipeError(f"data.options.test_takes: {test_takes}; 1 or more, and test_speakers and joined are then left out")
    if unknown := [name for name in (data_heads or {}).values() if name not in ("digit", "speaker")]:
        raise DataError(f"data.heads: no column {unknown[0]!r}; a recording has digit and speaker")
    if data_heads and joined > 1:
        raise RecipeError("data.options.joined: several recordings behind each other have no digit; leave it out")
    place, held = base / path, list(test_speakers or TEST_SPEAKERS)
    if not place.exists():
        raise DataError(
            f"data.options.path: {place} is not there; 'git clone https://github.com/Jakobovski/free-spoken-digit-dataset' fetches the recordings"
        )
    files = [place] if place.is_file() else _recordings(place)
    digest = hashlib.sha256("\n".join(f"{file.name} {_hash(file)}" for file in files).encode()).hexdigest()
    return Source(
        identity=f"fsdd {digest} {' '.join(held)} {label} {joined}" + (f" {test_takes} {data_heads}" if test_takes or data_heads else ""),
        read=lambda: _read(place, files, held, label=label, joined=joined, test_takes=test_takes, heads=data_heads),
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


def _read(
    place: Path,
    files: list[Path],
    held: list[str],
    *,
    label: str,
    joined: int,
    test_takes: int | None,
    heads: Mapping[str, str] | None,
) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table, takes = (_parquet(place), None) if place.is_file() else _named(files)
    if heads:
        table = _of_heads(table, heads)
    if test_takes:
        if takes is None:
            raise DataError(f"data.options.test_takes: {place} does not say which take a recording is; take the recordings themselves")
        first, plain = pa.array(take < test_takes for take in takes), table.drop_columns(["group"])
        if label == "speaker" and not heads:
            plain = _of_speakers(table, joined).drop_columns(["group"])
        return {"train": plain.filter(pc.invert(first)), "test": plain.filter(first)}
    speakers = table.column("group")
    if absent := sorted(set(held) - set(speakers.unique().to_pylist())):
        known = ", ".join(sorted(speakers.unique().to_pylist()))
        raise DataError(f"data.options.test_speakers: nobody is called {', '.join(absent)}; the speakers are {known}")
    if label == "speaker" and not heads:
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


def _of_heads(table: pa.Table, heads: Mapping[str, str]) -> pa.Table:
    """The same recordings with digit and speaker as labels of the heads that ask for them."""
    from compress.data.columns import ANSWER, join_answers

    own = {"digit": table.column("label"), "speaker": table.column("group")}
    plain = table.drop_columns(["label"])
    for name, column in heads.items():
        plain = plain.append_column(f"{ANSWER}{name}", own[column])
    return join_answers(plain)


def _named(files: list[Path]) -> tuple[pa.Table, list[int]]:
    """The recordings in a folder, and which take of its digit by its speaker each is, from 0."""
    parts = [match.groups() for file in files if (match := _NAME.fullmatch(file.name))]
    digits, speakers, takes = ([part[place] for part in parts] for place in range(3))
    return _table([str(file.resolve()) for file in files], digits, speakers), list(map(int, takes))


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
