"""Wordings: rows in other words keep their other inputs, are the same for the same seed, and only those that a row uses are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from compress.data.prepared import Split
from compress.errors import DataError
from compress.modalities.further import Further, read_further, write_further
from compress.modalities.wordings import draw_wordings, frequent_words, reword

TEXTS = ["What colour is the square?", "is the circle red?"]
NEAR = {"colour": ["hue", "shade"], "square": ["box"], "circle": ["ring"], "red": ["crimson"], "is": ["are"], "the": ["that"]}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "?", "a", "##s", "what", "is", "the", "colour", "square", "circle", "red"]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture
def split() -> Split:
    """40 rows: image i // 2, both texts about each."""
    rows = {"image": np.arange(40, dtype=np.int32) // 2, "text": np.arange(40, dtype=np.int32) % 2}
    inputs = {"image": np.zeros((20, 2, 2, 3), np.uint8), "text": pa.array(TEXTS)}
    zeros = np.zeros(40, np.int32)
    return Split("train", inputs, rows, zeros, zeros.astype(np.int16), zeros - 1, np.zeros(40, bool), inputs)


def near(words: Sequence[str]) -> dict[str, list[str]]:
    return {word: NEAR[word] for word in words if word in NEAR}


def draw(split: Split, tokenizer: Path, *, per_text: int = 8, share: float = 0.5, seed: int = 0) -> Further:
    return draw_wordings(split, near, tokenizer, modality="text", per_text=per_text, share=share, seed=seed)


def test_rows_keep_their_image_and_ask_in_words_made_of_their_own_text(split: Split, tokenizer: Path) -> None:
    made = draw(split, tokenizer, share=1.0)
    assert len(made.rows["image"]) == len(made.rows["text"]) == 40
    np.testing.assert_array_equal(made.rows["image"], split.rows["image"])
    texts = [made.inputs[int(number) - len(TEXTS)].as_py() for number in made.rows["text"]]
    own = [{"what", "colour", "is", "the", "square", "?", *(n for w in ("colour", "is", "the", "square") for n in NEAR[w])}]
    own += [{"is", "the", "circle", "red", "?", *(n for w in ("is", "the", "circle", "red") for n in NEAR[w])}]
    joined = set(frequent_words(tokenizer))
    for text, row in zip(texts, split.rows["text"], strict=True):
        assert set(text.split()) <= own[row] | joined
    assert len(set(texts)) > 8


def test_share_and_number_bound_the_rows_and_the_texts(split: Split, tokenizer: Path) -> None:
    made = draw(split, tokenizer, per_text=2, share=0.25)
    assert len(made.rows["text"]) == 10
    assert len(made.inputs) <= 2 * len(TEXTS)
    assert sorted(set(made.rows["text"].tolist())) == list(range(len(TEXTS), len(TEXTS) + len(made.inputs)))  # none without a row
    assert made.inputs.to_pylist() == sorted(set(made.inputs.to_pylist()))


def test_same_seed_same_wordings(split: Split, tokenizer: Path) -> None:
    one, again, other = (draw(split, tokenizer, seed=seed) for seed in (0, 0, 1))
    assert one.inputs == again.inputs
    for name, which in one.rows.items():
        np.testing.assert_array_equal(which, again.rows[name])
    assert one.inputs != other.inputs


def test_words_are_replaced_left_out_joined_and_swapped_in_their_shares() -> None:
    words, near = [f"w{n}" for n in range(20)], {f"w{n}": [f"near{n}"] for n in range(20)}
    texts = [reword(words, near, ["of"], np.random.default_rng(seed)).split() for seed in range(400)]
    own = [[word for word in text if word != "of"] for text in texts]
    counts = {
        "replaced": np.mean([word.startswith("near") for text in own for word in text]) * np.mean([len(text) for text in own]) / 20,
        "left out": 1 - np.mean([len(text) for text in own]) / 20,
        "joined": np.mean([text.count("of") for text in texts]) / 20,
        "swapped": np.mean([(numbers := [int(word.lstrip("nearw")) for word in text]) != sorted(numbers) for text in own]),
    }
    # a swap of a word with one that joined is not seen here: about one neighbour in four
    assert counts == {
        "replaced": pytest.approx(0.4, abs=0.03),
        "left out": pytest.approx(0.1, abs=0.02),
        "joined": pytest.approx(0.15, abs=0.02),
        "swapped": pytest.approx(0.3 * 0.73, abs=0.06),
    }


def test_words_without_near_ones_stay_and_no_text_gets_empty() -> None:
    for seed in range(50):
        words = reword(["zebra", "?"], {}, ["of"], np.random.default_rng(seed)).split()
        assert sorted(word for word in words if word != "of") == ["?", "zebra"]
        assert reword(["red"], {"red": ["crimson"]}, ["of"], np.random.default_rng(seed))


def test_wordings_survive_the_disk(split: Split, tokenizer: Path, tmp_path: Path) -> None:
    made = draw(split, tokenizer)
    write_further(tmp_path, made)
    found = read_further(tmp_path)
    assert found
    assert found.inputs == made.inputs
    assert {name: which.tolist() for name, which in found.rows.items()} == {name: which.tolist() for name, which in made.rows.items()}


def test_folder_without_wordings_has_none(tmp_path: Path) -> None:
    assert read_further(tmp_path) is None


def test_tokenizer_of_another_kind_is_refused(split: Split, tmp_path: Path) -> None:
    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        DataError, match=r"distill\.augment\.text\.wordings takes words from WordPiece vocabularies, this one is BPE; set it to 0"
    ):
        draw(split, tmp_path / "tokenizer.json")
