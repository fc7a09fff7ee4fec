"""Texts to token ids, and a vocabulary cut to a task: the same words must give the same tokens."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from compress.errors import DataError
from compress.modalities.tokens import learn_vocabulary, padding_id, tokenize, trim_vocabulary, unknown_rate, vocabulary_size

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, "?"]
WORDS = ["what", "colour", "is", "the", "square", "red", "blue", "##ish", "circle", "green", "##er"]
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{c}" for c in string.ascii_lowercase), *WORDS]
TEXTS = ["What colour is the square?", "is the circle reddish", "the squares"]


def wordpiece(path: Path, vocabulary: list[str] = VOCABULARY, *, template: bool = True, added: list[str] | None = None) -> Path:
    """A tokenizer.json in BERT's manner; `template` chooses between the two forms of post-processor that BERT's come with."""
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    else:
        tokenizer.post_processor = processors.BertProcessing(ends[1], ends[0])
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(added or [])
    tokenizer.save(str(path))
    return path


def tokens_of(path: Path, text: str) -> list[str]:
    return Tokenizer.from_file(str(path)).encode(text).tokens


def test_tokenize_pads_with_the_padding_id_and_cuts_before_the_end_token(tmp_path: Path) -> None:
    path = wordpiece(tmp_path / "tokenizer.json")
    ids = tokenize(path, ["red", "what colour is the square"], 4)
    number = {token: index for index, token in enumerate(VOCABULARY)}
    expected = [["[CLS]", "red", "[SEP]", "[PAD]"], ["[CLS]", "what", "colour", "[SEP]"]]
    assert ids.dtype == np.int64 and ids.tolist() == [[number[token] for token in row] for row in expected]


def test_tokenize_keeps_the_order_of_many_texts(tmp_path: Path) -> None:
    path = wordpiece(tmp_path / "tokenizer.json")
    texts = ["red", "blue", "green"] * 1500  # more than one block
    ids = tokenize(path, texts, 3)
    assert ids.shape == (4500, 3) and np.array_equal(ids, np.tile(tokenize(path, texts[:3], 3), (1500, 1)))


def test_tokenizer_without_a_padding_token_is_refused(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"red": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"no padding token '\[PAD\]'"):
        tokenize(tmp_path / "tokenizer.json", ["red"], 4)


@pytest.mark.parametrize("template", [True, False])
def test_trimmed_vocabulary_gives_training_texts_the_same_tokens(tmp_path: Path, template: bool) -> None:
    full, trimmed = wordpiece(tmp_path / "full.json", template=template), tmp_path / "trimmed.json"
    kept = trim_vocabulary(full, TEXTS, trimmed)
    assert np.array_equal(np.array(kept)[tokenize(trimmed, TEXTS, 16)], tokenize(full, TEXTS, 16))
    assert [tokens_of(trimmed, text) for text in TEXTS] == [tokens_of(full, text) for text in TEXTS]
    assert tokens_of(trimmed, TEXTS[1]) == ["[CLS]", "is", "the", "circle", "red", "##d", "##ish", "[SEP]"]


def test_trimmed_vocabulary_keeps_order_specials_and_characters_and_no_other_word(tmp_path: Path) -> None:
    kept = trim_vocabulary(wordpiece(tmp_path / "full.json"), TEXTS, tmp_path / "trimmed.json")
    assert kept == sorted(kept) and kept[0] == 0
    gone = {VOCABULARY[number] for number in set(range(len(VOCABULARY))) - set(kept)}
    assert gone == {"blue", "green", "##er"}
    assert vocabulary_size(tmp_path / "trimmed.json") == len(kept) == len(VOCABULARY) - 3
    assert padding_id(tmp_path / "trimmed.json") == 0


def test_word_outside_the_trimmed_vocabulary_is_spelled(tmp_path: Path) -> None:
    trim_vocabulary(wordpiece(tmp_path / "full.json"), TEXTS, tmp_path / "trimmed.json")
    assert tokens_of(tmp_path / "trimmed.json", "blue") == ["[CLS]", "b", "##l", "##u", "##e", "[SEP]"]
    assert tokens_of(tmp_path / "trimmed.json", "blue €") == ["[CLS]", "b", "##l", "##u", "##e", "[UNK]", "[SEP]"]


def test_trimmed_padding_becomes_0_where_it_was_another_id(tmp_path: Path) -> None:
    full, trimmed = wordpiece(tmp_path / "full.json", [*VOCABULARY[1:], "[PAD]"]), tmp_path / "trimmed.json"
    kept = trim_vocabulary(full, TEXTS, trimmed)
    assert kept[0] == len(VOCABULARY) - 1 and kept[1:] == sorted(kept[1:])
    assert (tokenize(trimmed, ["red"], 6)[0, 3:] == 0).all()
    assert np.array_equal(np.array(kept)[tokenize(trimmed, TEXTS, 16)], tokenize(full, TEXTS, 16))


def test_trimming_keeps_tokens_that_were_added_to_the_vocabulary(tmp_path: Path) -> None:
    full, trimmed = wordpiece(tmp_path / "full.json", added=["<shape>"]), tmp_path / "trimmed.json"
    kept = trim_vocabulary(full, TEXTS, trimmed)
    assert kept[-1] == len(VOCABULARY) and vocabulary_size(trimmed) == len(kept)
    assert tokens_of(trimmed, "the <shape>") == ["[CLS]", "the", "<shape>", "[SEP]"]
    assert np.array_equal(np.array(kept)[tokenize(trimmed, ["the <shape>"], 6)], tokenize(full, ["the <shape>"], 6))


def test_trimming_reads_whole_texts_whatever_the_file_cuts_and_pads(tmp_path: Path) -> None:
    full = wordpiece(tmp_path / "full.json")
    tokenizer = Tokenizer.from_file(str(full))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3, pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(full))
    trim_vocabulary(full, TEXTS, tmp_path / "trimmed.json")
    assert json.loads((tmp_path / "trimmed.json").read_text())["truncation"] is None
    assert "square" in Tokenizer.from_file(str(tmp_path / "trimmed.json")).get_vocab()


def test_only_wordpiece_can_be_trimmed(tmp_path: Path) -> None:
    Tokenizer(models.BPE({"[PAD]": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="trims WordPiece vocabularies, this one is BPE; set vocab: own"):
        trim_vocabulary(tmp_path / "tokenizer.json", ["ab"], tmp_path / "trimmed.json")
    assert not (tmp_path / "trimmed.json").exists()


def test_unknown_rate_is_the_share_of_unknown_tokens_without_special_ones(tmp_path: Path) -> None:
    path = wordpiece(tmp_path / "tokenizer.json")
    assert unknown_rate(path, ["is the €", "red"]) == 1 / 4  # is, the, [UNK]; red
    assert unknown_rate(path, ["reds"]) == 0 and unknown_rate(path, []) == 0


def test_unknown_rate_knows_the_vocabularys_own_unknown_token(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>")).save(str(tmp_path / "words.json"))
    assert unknown_rate(tmp_path / "words.json", ["red", "blue"]) == 1 / 2
    Tokenizer(models.Unigram([("<pad>", 0.0), ("<unk>", 0.0), ("red", -1.0)], unk_id=1)).save(str(tmp_path / "unigram.json"))
    assert unknown_rate(tmp_path / "unigram.json", ["red", "zz", "red"]) == 1 / 3  # unknown characters in a row are one token
    Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).save(str(tmp_path / "bpe.json"))
    assert unknown_rate(tmp_path / "bpe.json", ["ab", "a"]) == 0


def test_vocabulary_is_learnt_from_texts_alone_and_always_the_same(tmp_path: Path) -> None:
    texts = [*TEXTS, "Grün ist ein Kreis"] * 3
    sizes = [learn_vocabulary(some, tmp_path / name) for name, some in (("a.json", texts), ("b.json", texts[::-1]))]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes() and sizes[0] == vocabulary_size(tmp_path / "a.json")
    assert padding_id(tmp_path / "a.json") == 0
    assert tokens_of(tmp_path / "a.json", "the square") == ["[CLS]", "the", "square", "[SEP]"]
    assert unknown_rate(tmp_path / "a.json", texts) == 0
    learn_vocabulary(texts, tmp_path / "c.json", size=1)  # the commonest word alone; letters stay, whatever the size
    assert tokens_of(tmp_path / "c.json", "the is") == ["[CLS]", "the", "i", "##s", "[SEP]"]
