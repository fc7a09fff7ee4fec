"""SigLIP's tokenizer from the SentencePiece file beside its weights, for folders without a tokenizer.json: transformers has no fast tokenizer of it."""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from compress.errors import DependencyError, RecipeError

UNIGRAM = 1  # the only kind of SentencePiece model whose pieces have scores


def read_sentencepiece(path: Path) -> Tokenizer:
    """The tokenizer of a Unigram model with what SiglipTokenizer does before it (lower case, no ASCII punctuation, single spaces) and the end behind.

    Raises: RecipeError for a model of another kind, DependencyError for a file that is none.
    """
    from google.protobuf.message import DecodeError
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DependencyError(f"teacher: {path} is no SentencePiece file: {error}; copy it again") from error
    if model.trainer_spec.model_type != UNIGRAM:
        raise RecipeError(f"teacher: {path} is a SentencePiece model of another kind than Unigram; save a tokenizer.json beside it")
    tokenizer = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in model.pieces], unk_id=model.trainer_spec.unk_id))
    punctuation = "[" + "".join(f"\\{mark}" for mark in string.punctuation) + "]"
    before = [normalizers.Lowercase(), normalizers.Replace(Regex(punctuation), ""), normalizers.Replace(Regex(r"\s+"), " ")]
    charsmap = model.normalizer_spec.precompiled_charsmap
    own = [normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")] if charsmap else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Strip(), *own])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    end = model.trainer_spec.eos_piece
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, model.trainer_spec.eos_id)])
    return tokenizer
