"""Texts in their room: stored once, read with a model's own tokenizer, and a student's tokenizer and first weights made from the teacher's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sections import RECIPE, data_section
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import nn

from compress.errors import DataError, RecipeError
from compress.io_spec import Port
from compress.modalities.modality import modality
from compress.modalities.tokens import tokenize, write_texts
from compress.models.text import distilbert

ROOM = modality("text")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "colour", "is", "it", "red", "w", "##w"]
TRAIN, VALIDATION = ["what colour", "is it"], ["is it red", "w"]


def write_tokenizer(folder: Path, vocabulary: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A teacher's folder, as far as its texts are concerned."""
    return write_tokenizer(tmp_path / "teacher", VOCABULARY)


def words(length: int = 6) -> Any:
    """The words of data.inputs.text."""
    return data_section(source="manifest", inputs={"text": {"length": length}}).inputs.get("text")


def student(**given: Any) -> Any:
    """The words of student.encoders.text."""
    section = RECIPE.model_fields["student"].annotation
    return section(encoders={"text": given}).encoders.text


def write_assets(section: Any, teacher: Path, out: Path) -> dict:
    out.mkdir()
    return ROOM.write_assets(section, teacher, {"train": TRAIN, "validation": VALIDATION}.__getitem__, out=out)


def test_largest_id_of_the_port_is_known_once_there_is_a_tokenizer(teacher: Path, tmp_path: Path) -> None:
    assert ROOM.port(words(), teacher) == Port("text", "int64", (6,), 0, len(VOCABULARY) - 1)
    assert ROOM.port(words(), None) == ROOM.port(words(), tmp_path) == Port("text", "int64", (6,), 0, None)


@pytest.mark.parametrize("where", ["nowhere", "a folder without one"])
def test_texts_are_not_read_without_a_tokenizer(tmp_path: Path, where: str) -> None:
    with pytest.raises(ValueError, match="needs its tokenizer.json"):
        ROOM.arrays(pa.array(TRAIN), ROOM.port(words(), None), None if where == "nowhere" else tmp_path)


def test_texts_are_cut_and_padded_to_the_port(teacher: Path) -> None:
    found = ROOM.arrays(pa.array(["what colour is it red what colour", "red"]), ROOM.port(words(4), teacher), teacher)
    assert found.tolist() == [[5, 6, 7, 8], [9, 0, 0, 0]]


def test_one_file_serves_every_model(tmp_path: Path) -> None:
    write_texts(tmp_path / "text.arrow", pa.array(TRAIN))
    assert ROOM.open(tmp_path, "teacher_text").to_pylist() == ROOM.open(tmp_path, "text").to_pylist() == TRAIN
    (tmp_path / "out").mkdir()
    ROOM.keep("teacher_text", np.array([1]), folder=tmp_path, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []  # the text's own file is kept once


def test_trimmed_vocabulary_holds_training_texts_and_single_characters(teacher: Path, tmp_path: Path) -> None:
    found = write_assets(student(), teacher, tmp_path / "out")
    # all but "red" (9), which no training text has; of the validation texts' 4 words and no others it is the one that is unknown
    assert found["kept"] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert found["vocabulary"] == {"tokens": 11, "teacher_tokens": 12, "unknown_rate_validation": 0.25}
    assert tokenize(tmp_path / "out" / "tokenizer.json", ["what red w"], 4).tolist() == [[5, 1, 9, 0]]


def test_full_vocabulary_is_the_teachers(teacher: Path, tmp_path: Path) -> None:
    found = write_assets(student(vocab="full"), teacher, tmp_path / "out")
    assert found["kept"] == list(range(12)) and found["vocabulary"]["unknown_rate_validation"] == 0.0
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (teacher / "tokenizer.json").read_bytes()


def test_full_vocabulary_whose_padding_is_not_0_is_refused(tmp_path: Path) -> None:
    teacher = write_tokenizer(tmp_path / "teacher", [*VOCABULARY[1:], "[PAD]"])
    with pytest.raises(
        DataError, match=r"its padding token has id 11, a student needs 0; student\.encoders\.text\.vocab: own or, of WordPiece, task"
    ):
        write_assets(student(vocab="full"), teacher, tmp_path / "full")
    found = write_assets(student(), teacher, tmp_path / "task")
    assert found["kept"][0] == 11


def test_random_start_reports_what_the_vocabulary_saves(tmp_path: Path) -> None:
    encoder = distilbert(Port("text", "int64", (6,), 0, 10), layers=1, width=8)
    known = {"kept": list(range(11)), "vocabulary": {"tokens": 11, "teacher_tokens": 12, "unknown_rate_validation": 0.25}}
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    report = ROOM.initialise(encoder, student(initialise="random"), tmp_path, known, np.zeros((1, 6), np.int64))
    assert report == {"vocabulary": {**known["vocabulary"], "saved_parameters": 8}, "inherited": None}
    assert all((before[name] == value).all() for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("given", [None, SimpleNamespace(wordings=0)])
def test_no_other_wordings_unless_they_are_asked_for(tmp_path: Path, given: Any) -> None:
    assert ROOM.reword(given, None, None, model=tmp_path, seed=0) is None


def test_teacher_without_word_vectors_cannot_reword(teacher: Path) -> None:
    class Split:
        inputs, rows = {"text": pa.array(TRAIN)}, {"text": np.array([0, 1])}

        def __len__(self) -> int:
            return 2

        def lacks(self, modality: str) -> np.ndarray:
            return np.zeros(2, bool)

    with pytest.raises(RecipeError, match=r"distill\.augment\.text\.wordings: the teacher has .* to find near words in; set it to 0"):
        ROOM.reword(SimpleNamespace(wordings=2, reworded=1.0), Split(), nn.Linear(2, 2), model=teacher, seed=0)
