"""SigLIP's tokenizer of a SentencePiece file, against transformers' own on a small one that is trained here."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from clips import write_siglip
from transformers import SiglipTokenizer

from compress.errors import DependencyError, RecipeError
from compress.models.dual import dual_tokenizer
from compress.models.sentencepiece_file import read_sentencepiece

sentencepiece = pytest.importorskip("sentencepiece", reason="trains a small SentencePiece model")
TEXTS = [
    "a photo of a cat",
    "two dogs on the beach",
    "the old cat, asleep",
    "big dogs and small cats",
    "a beach at night",
    "photos of nights",
]
ASKED = ["A photo of the CAT.", "two  dogs\t(asleep)!", "it's a beach-photo", "Ünknown ﬁsh", "dogs", "a_b #c"]


def train(path: Path, kind: str = "unigram") -> Path:
    made = io.BytesIO()
    special = {"pad_id": -1, "bos_id": -1, "eos_id": 1, "unk_id": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=made,
        vocab_size=35,
        hard_vocab_limit=False,
        model_type=kind,
        **special,
        minloglevel=2,
    )
    path.write_bytes(made.getvalue())
    return path


def test_ids_are_those_of_transformers_own_tokenizer(tmp_path: Path) -> None:
    ours, theirs = read_sentencepiece(train(tmp_path / "spiece.model")), SiglipTokenizer(str(tmp_path / "spiece.model"))
    for text in ASKED:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text


def test_a_folder_without_a_tokenizer_json_is_read_from_it(tmp_path: Path) -> None:
    write_siglip(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    train(tmp_path / "spiece.model")
    tokenizer = dual_tokenizer(tmp_path)
    assert (tokenizer.padding or {})["pad_id"] == 7 and tokenizer.encode("A Cat!").ids == tokenizer.encode("a cat").ids
    (tmp_path / "spiece.model").write_bytes(b"torn")
    with pytest.raises(DependencyError, match="is no SentencePiece file"):
        dual_tokenizer(tmp_path)
    train(tmp_path / "spiece.model", kind="bpe")
    with pytest.raises(RecipeError, match="of another kind than Unigram"):
        dual_tokenizer(tmp_path)
