"""Speech Commands: read from an unpacked archive in the authors' own splits, and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.data.speech_commands import speech_commands
from compress.errors import DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two takes of three words by two speakers each, and a background noise. Sounds are never opened here, so any bytes will do."""
    root = tmp_path / "speech_commands"
    for word in ("yes", "no", "cat"):
        (root / word).mkdir(parents=True)
        for speaker in ("a1", "b2"):
            for take in range(2):
                (root / word / f"{speaker}_nohash_{take}.wav").write_bytes(b"x" * (10 + take))
    (root / "_background_noise_").mkdir()
    (root / "_background_noise_" / "pink_noise.wav").write_bytes(b"x")
    (root / "validation_list.txt").write_text("yes/a1_nohash_1.wav\n")
    (root / "testing_list.txt").write_text("".join(f"{word}/b2_nohash_{take}.wav\n" for word in ("yes", "no", "cat") for take in range(2)))
    return root


def rows(archive: Path, split: str, **options: list[str]) -> list[tuple]:
    table = speech_commands(base=archive.parent, path=archive.name, **options).read()[split]
    return [(Path(row["audio"]).name, row["label"], row["group"]) for row in table.to_pylist()]


def test_splits_are_the_authors_and_groups_the_speakers(archive: Path) -> None:
    assert rows(archive, "validation") == [("a1_nohash_1.wav", "yes", "a1")]
    assert {group for _, _, group in rows(archive, "test")} == {"b2"} and len(rows(archive, "test")) == 6
    assert rows(archive, "train") == [
        (f"a1_nohash_{take}.wav", word, "a1") for word, take in (("cat", 0), ("cat", 1), ("no", 0), ("no", 1), ("yes", 0))
    ]


def test_other_words_and_noises_are_left_out_and_counted(archive: Path) -> None:
    source = speech_commands(base=archive.parent, path=archive.name, words=["yes", "no"])
    assert source.left_out == {"recording of no word": 1, "recording of another word": 4}
    assert source.read()["train"]["label"].chunk(0).dictionary.to_pylist() == ["no", "yes"]


def test_identity_follows_files_lists_and_words(archive: Path) -> None:
    def identity(**options: list[str]) -> str:
        return speech_commands(base=archive.parent, path=archive.name, **options).identity

    found = [identity(), identity(words=["yes"])]
    (archive / "yes" / "a1_nohash_0.wav").write_bytes(b"longer than before")
    found.append(identity())
    (archive / "validation_list.txt").write_text("")
    found.append(identity())
    assert len(set(found)) == 4 and identity() == found[-1]


def test_what_is_missing_is_told(archive: Path) -> None:
    with pytest.raises(DataError, match=r"data.options.path: .*nothing is not there; 'curl -O http://download.tensorflow.org/data/speech"):
        speech_commands(base=archive.parent, path="nothing")
    with pytest.raises(DataError, match="data.options.path: .* has no validation_list.txt"):
        speech_commands(base=archive.parent, path="speech_commands/yes")
    with pytest.raises(DataError, match="data.options.words: nobody says dog; there are cat, no, yes"):
        speech_commands(base=archive.parent, path=archive.name, words=["dog", "yes"])
