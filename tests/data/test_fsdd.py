"""Spoken digits: read from a clone's folder or a Parquet file, split by speaker, and what is said where something is missing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow import parquet

from compress.data.fsdd import DIGITS, fsdd
from compress.errors import DataError, RecipeError

SPEAKERS = ("george", "theo", "yweweler")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Three takes of two digits by three speakers, as the repository lays them out, and files that are no recordings."""
    folder = tmp_path / "free-spoken-digit-dataset"
    (folder / "recordings").mkdir(parents=True)
    for digit in (0, 7):
        for speaker in SPEAKERS:
            for take in range(3):
                soundfile.write(folder / "recordings" / f"{digit}_{speaker}_{take}.wav", np.full(10, 0.1 * (take + 1)), 8000)
    (folder / "README.md").write_text("digits")
    soundfile.write(folder / "recordings" / "noise.wav", np.ones(10), 8000)
    return folder


def rows(table: pa.Table) -> list[tuple]:
    plain = table.set_column(table.column_names.index("label"), "label", table["label"].cast(pa.string()))
    return sorted(zip(*(plain[name].to_pylist() for name in ("label", "group", "kind")), strict=True))


@pytest.mark.parametrize("path", ["free-spoken-digit-dataset", "free-spoken-digit-dataset/recordings"])
def test_clone_is_split_by_speaker(clone: Path, path: str) -> None:
    source = fsdd(base=clone.parent, path=path)
    tables = source.read()
    assert rows(tables["train"]) == [(digit, "george", "george") for digit in "07" for _ in range(3)]
    assert rows(tables["test"]) == [(digit, name, name) for digit in "07" for name in ("theo", "yweweler") for _ in range(3)]
    assert Path(tables["train"]["audio"][0].as_py()).is_file()
    assert source.licence.startswith("CC BY-SA 4.0")


def test_labels_are_the_digits_in_their_order(clone: Path) -> None:
    label = fsdd(base=clone.parent, path=clone.name).read()["train"]["label"]
    assert label.chunk(0).dictionary.to_pylist() == list(DIGITS)


def test_speakers_of_the_test_can_be_chosen(clone: Path) -> None:
    tables = fsdd(base=clone.parent, path=clone.name, test_speakers=["george"]).read()
    assert set(tables["test"]["group"].to_pylist()) == {"george"} and tables["train"].num_rows == 12


def test_parquet_with_the_recordings_inside_gives_the_same_rows(clone: Path) -> None:
    files = sorted(clone.glob("recordings/?_*.wav"))
    parts = [file.stem.split("_") for file in files]
    table = pa.table({"audio": [f.read_bytes() for f in files], "label": [p[0] for p in parts], "speaker": [p[1] for p in parts]})
    parquet.write_table(table, clone.parent / "digits.parquet")
    own, other = (fsdd(base=clone.parent, path=path).read() for path in (clone.name, "digits.parquet"))
    assert {split: rows(own[split]) for split in own} == {split: rows(other[split]) for split in other}
    assert other["train"]["audio"][0].as_py()[:4] == b"RIFF"


def test_identity_follows_content_and_speakers(clone: Path) -> None:
    first = fsdd(base=clone.parent, path=clone.name).identity
    assert fsdd(base=clone.parent, path=clone.name).identity == first
    assert fsdd(base=clone.parent, path=clone.name, test_speakers=["theo"]).identity != first
    soundfile.write(clone / "recordings" / "0_theo_0.wav", np.full(10, 0.9), 8000)
    assert fsdd(base=clone.parent, path=clone.name).identity != first


def test_what_is_missing_is_told_with_the_line_that_fetches_it(clone: Path) -> None:
    with pytest.raises(DataError, match="data.options.path: .*nothing is not there; 'git clone https://github.com/Jakobovski/"):
        fsdd(base=clone.parent, path="nothing")
    with pytest.raises(DataError, match="holds no file named digit_speaker_take.wav"):
        fsdd(base=clone.parent, path=".")
    with pytest.raises(DataError, match="nobody is called anna; the speakers are george, theo, yweweler"):
        fsdd(base=clone.parent, path=clone.name, test_speakers=["anna", "theo"]).read()


def test_parquet_without_the_columns_is_told(clone: Path) -> None:
    parquet.write_table(pa.table({"audio": [b"a"], "label": ["1"]}), clone.parent / "a.parquet")
    with pytest.raises(DataError, match="a.parquet needs the columns audio, label, speaker; found audio, label"):
        fsdd(base=clone.parent, path="a.parquet").read()
    (clone.parent / "b.parquet").write_text("no table")
    with pytest.raises(DataError, match="b.parquet: not readable as Parquet"):
        fsdd(base=clone.parent, path="b.parquet").read()


def test_for_verification_the_label_is_the_speaker_and_the_kind_the_digit(clone: Path) -> None:
    train = fsdd(base=clone.parent, path=clone.name, label="speaker").read()["train"]
    assert rows(train) == [("george", "george", digit) for digit in "07" for _ in range(3)]


def test_joined_recordings_of_one_speaker_stand_behind_each_other(clone: Path) -> None:
    tables = fsdd(base=clone.parent, path=clone.name, label="speaker", joined=4).read()  # of six; two are left over
    assert tables["train"]["label"].to_pylist() == ["george"] and sorted(tables["test"]["group"].to_pylist()) == ["theo", "yweweler"]
    samples, rate = soundfile.read(io.BytesIO(tables["train"]["audio"][0].as_py()))
    assert rate == 8000 and len(samples) == 40
    assert {round(float(part.mean()), 1) for part in samples.reshape(4, 10)} <= {0.1, 0.2, 0.3}
    with pytest.raises(RecipeError, match="more than 1 only where data.options.label is speaker"):
        fsdd(base=clone.parent, path=clone.name, joined=4)
    with pytest.raises(DataError, match="7 recordings are more than any speaker has"):
        fsdd(base=clone.parent, path=clone.name, label="speaker", joined=7).read()


def test_first_takes_are_the_test_of_everybody_and_heads_have_digit_and_speaker(clone: Path) -> None:
    heads = {"digit": "digit", "who": "speaker"}
    tables = fsdd(base=clone.parent, path=clone.name, test_takes=1, data_heads=heads).read()
    assert (tables["train"].num_rows, tables["test"].num_rows) == (12, 6) and "group" not in tables["test"].column_names
    assert tables["test"]["label"].to_pylist() == [{"digit": digit, "who": who} for digit in "07" for who in SPEAKERS]
    assert all(Path(path.as_py()).stem.endswith("_0") for path in tables["test"]["audio"])
    assert fsdd(base=clone.parent, path=clone.name, test_takes=1, label="speaker").read()["test"]["label"].to_pylist() == [*SPEAKERS] * 2
    one = fsdd(base=clone.parent, path=clone.name, data_heads=heads)
    assert one.identity != fsdd(base=clone.parent, path=clone.name).identity and "group" in one.read()["test"].column_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_heads": {"size": "volume"}}, "data.heads: no column 'volume'; a recording has digit and speaker"),
        ({"data_heads": {"digit": "digit"}, "joined": 2, "label": "speaker"}, "several recordings behind each other have no digit"),
        ({"test_takes": 0}, "data.options.test_takes: 0; 1 or more"),
        ({"test_takes": 1, "test_speakers": ["theo"]}, "test_speakers and joined are then left out"),
    ],
)
def test_what_takes_and_heads_cannot_be_is_refused(clone: Path, options: dict, message: str) -> None:
    with pytest.raises((DataError, RecipeError), match=message):
        fsdd(base=clone.parent, path=clone.name, **options)
