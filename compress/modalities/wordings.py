"""Wordings: training texts in other words, which the teacher alone answers; without them a student knows no words but the data's own.

Some words of a text are replaced by near ones, left out, swapped, or joined by others. Source of the idea: TinyBERT's data augmentation,
arXiv 1909.10351, appendix A; here the teacher's own word vectors say which words are near.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from compress.modalities.further import Further
from compress.modalities.tokens import read_wordpiece, vocabulary

REPLACED, LEFT_OUT, JOINED = 0.4, 0.1, 0.15  # of the words: how many give way to a near one, are left out, get another before them
SWAPPED = 0.3  # of the texts: how many have two neighbours change places
FREQUENT = 300  # words that may join
Near = Callable[[Sequence[str]], dict[str, list[str]]]  # words -> those near to each, none where a word has no vector


def draw_wordings(split: Any, near: Near, tokenizer: Path, *, modality: str, per_text: int, share: float, seed: int) -> Further:
    """One row in other words for each of `share` of the rows of a `Split`, in one of `per_text` wordings of its text; all else stays.

    Only wordings that a row uses are made. Raises DataError for a tokenizer that is no WordPiece: its words cannot be told.
    """
    draw = np.random.default_rng(seed)
    able = np.flatnonzero(~split.lacks(modality))
    picked = able[np.sort(draw.choice(len(able), round(share * len(able)), replace=False))]
    rows = {m: np.asarray(which)[picked] for m, which in split.rows.items()}
    used, row_text = np.unique(rows[modality].astype(np.int64) * per_text + draw.integers(per_text, size=len(picked)), return_inverse=True)
    split_words, frequent = word_splitter(tokenizer), frequent_words(tokenizer)
    known = {int(text): split_words(split.inputs[modality][int(text)].as_py()) for text in np.unique(used // per_text)}
    nearest = near(sorted({word for words in known.values() for word in words}))
    made = [reword(known[n // per_text], nearest, frequent, np.random.default_rng((seed, n))) for n in used.tolist()]
    texts, order = np.unique(made, return_inverse=True)
    rows[modality] = len(split.inputs[modality]) + order[row_text]
    return Further(rows, modality, pa.array(texts.tolist(), pa.string()))


def reword(words: Sequence[str], near: dict[str, list[str]], frequent: Sequence[str], draw: np.random.Generator) -> str:
    """The words in other words; those with no near ones, such as marks, stay."""
    out: list[str] = []
    for word, value, other in zip(words, draw.random(len(words)), draw.random(len(words)), strict=True):
        if frequent and other < JOINED:
            out.append(frequent[int(draw.integers(len(frequent)))])
        choices = near.get(word)
        if not choices or value >= REPLACED + LEFT_OUT:
            out.append(word)
        elif value < REPLACED:
            out.append(choices[int(draw.integers(len(choices)))])
    if len(out) > 1 and draw.random() < SWAPPED:
        place = int(draw.integers(len(out) - 1))
        out[place : place + 2] = out[place + 1], out[place]
    return " ".join(out or words)


def frequent_words(tokenizer: Path) -> list[str]:
    """The first whole words of the vocabulary, which in BERT's are the most frequent ones."""
    words = sorted((number, word) for word, number in vocabulary(tokenizer).items() if word.isalpha() and len(word) > 1)
    return [word for _, word in words[:FREQUENT]]


def word_splitter(path: Path) -> Callable[[str], list[str]]:
    """text -> its words and marks, as the tokenizer sees them."""
    described = read_wordpiece(path, needs="distill.augment.text.wordings takes words from", way_out="set it to 0")
    tokenizer = Tokenizer.from_str(json.dumps(described))

    def split_words(text: str) -> list[str]:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] if tokenizer.pre_tokenizer else normal.split()

    return split_words
