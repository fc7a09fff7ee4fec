"""A look at small files: what is counted, what is broken, and which files end in one clear error."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

from compress.data import survey as module
from compress.data.survey import survey
from compress.errors import DataError, DependencyError
from compress.recipe.seen import Pictures, Seen, Sounds


def write(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, list[dict]]:
    """30 training and 12 test pictures of 20 to 24 by 10 pixels, with a question, an answer and who was asked."""
    found: dict[str, list[dict]] = {}
    for split, count in (("train", 30), ("test", 12)):
        found[split] = []
        for i in range(count):
            Image.new("RGB", (20 + i % 5, 10), (i, 0, 0)).save(tmp_path / f"{split}{i}.png")
            found[split].append(
                {
                    "Picture": f"{split}{i}.png",
                    "question": f"how many are there in number {i}?",
                    "Antwort": f"0{i % 3}",
                    "person": f"p{i % 7}",
                }
            )
    return found


def look(folder: Path, rows: dict[str, list[dict]], **asked: str) -> Seen:
    return survey({split: write(folder / f"{split}.csv", some) for split, some in rows.items()}, base=folder, **asked)


def test_columns_rows_labels_sizes_and_lengths_are_counted(rows: dict, tmp_path: Path):
    seen = look(tmp_path, rows)
    assert seen.columns == {"image": "Picture", "text": "question", "label": "Antwort", "group": "person"}
    assert (seen.files, seen.rows) == ({"train": "train.csv", "test": "test.csv"}, {"train": 30, "test": 12})
    assert seen.labels == {"00": 10, "01": 10, "02": 10}  # zeros in front stay
    assert seen.inputs == 30
    assert seen.pictures == Pictures(looked=42, sides=(10, 10, 10), longest=24, alike=False)
    assert seen.groups == (7, 7)
    assert seen.texts is not None
    assert seen.texts.different == 30
    assert (seen.broken, seen.unlabelled, seen.ignored) == ({}, 0, {})


def test_pairs_need_no_label_and_two_kinds_of_inputs(rows: dict, tmp_path: Path):
    pairs = {
        split: [{"Picture": row["Picture"], "word": ("cat", "dog")[i % 2]} for i, row in enumerate(some)] for split, some in rows.items()
    }
    seen = look(tmp_path, pairs, task="retrieval")
    assert seen.columns == {"image": "Picture", "text": "word"} and seen.task_options == {"size": 128} and not seen.labels
    assert seen.answers == ("there is no label: rows that share an input are alike",)
    labelled = look(tmp_path, rows, task="retrieval", label="Antwort")
    assert labelled.columns["label"] == "Antwort" and "3 labels, and rows of one are alike" in labelled.answers[-1]
    alone = {split: [{"Picture": row["Picture"], "same": "x"} for row in some] for split, some in rows.items()}
    with pytest.raises(DataError, match="finds one kind of input by another, and there is image alone; name the columns of two"):
        look(tmp_path, alone, task="retrieval")


def test_lengths_are_tokens_of_the_tokenizer_or_guessed_from_words(rows: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = look(tmp_path, rows).texts
    assert texts is not None
    assert (texts.tokens, texts.guessed) == ((10, 10, 10), False)  # how many are there in number 12 ? and the two marks
    monkeypatch.setattr(module, "tokenizer_path", lambda: None)
    texts = look(tmp_path, rows).texts
    assert texts is not None
    assert (texts.tokens, texts.guessed) == ((12, 12, 12), True)  # 7 words, 1.4 tokens each: 9.8, and the two marks


def test_rows_that_a_run_cannot_use_are_counted_by_reason(rows: dict, tmp_path: Path):
    (tmp_path / "train0.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "test1.png").unlink()
    rows["train"][2]["question"] = "  "
    rows["train"][3]["Antwort"] = ""
    rows["test"][4]["Antwort"] = "new"
    rows["test"][5]["Antwort"] = " "
    seen = look(tmp_path, rows)
    assert seen.broken == {"not an image": 1, "missing file": 1, "empty text": 1, "unknown answer": 1, "no label": 1}
    assert seen.unlabelled == 1  # a training row without a label can be used
    assert sum(seen.labels.values()) == 29


def test_a_picture_that_breaks_off_is_found_when_it_is_read_to_the_end(rows: dict, tmp_path: Path):
    Image.effect_noise((64, 64), 90).save(tmp_path / "train0.png")
    whole = (tmp_path / "train0.png").read_bytes()
    (tmp_path / "train0.png").write_bytes(whole[: len(whole) // 2])
    assert look(tmp_path, rows).broken == {"broken image": 1}


def test_pictures_within_a_parquet_file_are_looked_at(rows: dict, tmp_path: Path):
    files = {}
    for split, some in rows.items():
        whole = [{"picture": (tmp_path / row["Picture"]).read_bytes(), "y": int(row["Antwort"])} for row in some]
        parquet.write_table(pa.Table.from_pylist(whole), files.setdefault(split, tmp_path / f"{split}.parquet"))
    seen = survey(files, base=tmp_path)
    assert (seen.columns, seen.inputs, seen.labels) == ({"image": "picture", "label": "y"}, 30, {"0": 10, "1": 10, "2": 10})
    assert seen.pictures is not None
    assert seen.pictures.looked == 42


def test_equal_inputs_with_different_labels_bound_what_can_be_right(tmp_path: Path):
    rows = [{"text": text, "label": label} for text, label in [("how", "a")] * 6 + [("how", "b")] * 3 + [("why not", "b")] * 3]
    seen = look(tmp_path, {"train": rows, "test": rows})
    assert seen.ceiling == (6 + 3) / 12  # the commonest label of each text


@pytest.mark.parametrize("base", ["", "recipes"])
def test_paths_start_from_the_recipe(rows: dict, tmp_path: Path, base: str):
    files = {split: write(tmp_path / f"{split}.csv", some) for split, some in rows.items()}
    found = survey(files, base=tmp_path / base).files["train"]
    assert found == ("train.csv" if not base else str(tmp_path / "train.csv"))  # absolute ones that lie elsewhere stay


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"--train .*train.csv: not readable as csv"),
        ("Picture,question,Antwort,person\n", "--train .*: there are no rows in it"),
        ("Antwort\n1\n2\n", 'there is only one column, "Antwort"; a label and a picture, a sound or a text are needed'),
        ("text;label\na;1\nb;2\n", "there is only one column, .*; are the cells divided by ';'?"),
        ("a,a\n1,2\n", 'column "a" is there 2 times'),
        ("Picture,question,Antwort,speaker\ntrain0.png,a,1,x\n", '--test .*: column "speaker" of the training file is not there'),
    ],
    ids=["empty", "no rows", "one column", "semicolons", "twice", "test differs"],
)
def test_files_that_no_recipe_can_read_end_in_one_error(rows: dict, tmp_path: Path, text: str, says: str):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        survey({"train": tmp_path / "train.csv", "test": write(tmp_path / "test.csv", rows["test"])}, base=tmp_path)


def test_a_file_that_is_not_there_names_its_option(tmp_path: Path):
    with pytest.raises(DataError, match=r"--train: .*no.csv is not a file"):
        survey({"train": tmp_path / "no.csv", "test": tmp_path / "no.csv"}, base=tmp_path)


@pytest.fixture
def spoken(tmp_path: Path) -> dict[str, list[dict]]:
    """20 training and 5 test sounds of 0.1 to 0.5 seconds at 8 kHz, by two speakers."""
    found: dict[str, list[dict]] = {}
    for split, count in (("train", 20), ("test", 5)):
        found[split] = []
        for i in range(count):
            soundfile.write(tmp_path / f"{split}{i}.wav", np.full(800 * (1 + i % 5), 0.1), 8000)
            found[split].append({"recording": f"{split}{i}.wav", "digit": f"{i % 2}", "speaker": f"s{i % 2}"})
    return found


def test_lengths_and_rates_of_sounds_are_counted(spoken: dict, tmp_path: Path):
    seen = look(tmp_path, spoken)
    assert seen.columns == {"audio": "recording", "label": "digit", "group": "speaker"}
    assert seen.sounds == Sounds(looked=25, seconds=(0.3, 0.5, 0.5), rate_hz=8000)
    assert (seen.inputs, seen.decoded, seen.pictures, seen.broken) == (20, 25, None, {})


def test_sounds_that_a_run_cannot_use_are_counted_by_reason(spoken: dict, tmp_path: Path):
    (tmp_path / "train0.wav").write_text("no sound")
    (tmp_path / "train1.wav").unlink()
    soundfile.write(tmp_path / "test2.wav", np.zeros(800), 8000)
    assert look(tmp_path, spoken).broken == {"not audio": 1, "missing file": 1, "silent audio": 1}
    for row in [row for some in spoken.values() for row in some]:
        (tmp_path / row["recording"]).write_text("no sound")
    with pytest.raises(DataError, match="--audio recording: none of the sounds can be opened .*25 not audio"):
        look(tmp_path, spoken)


def test_a_missing_package_for_sounds_is_named(spoken: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(DependencyError, match="--audio recording: sounds need the packages soundfile and soxr"):
        look(tmp_path, spoken)
