"""Near words: largest cosine first, whole words alone, and never the word itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.models import words
from compress.models.words import nearest_words

VOCABULARY = {"[PAD]": 0, "red": 1, "crimson": 2, "blue": 3, "##red": 4, "?": 5, "rot": 6}


class Reader(nn.Module):
    """A small table that is no vocabulary's, then the table of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.words = nn.Embedding(3, 2), nn.Embedding(7, 2)
        with torch.no_grad():
            self.words.weight.copy_(torch.tensor([[0.0, 0], [1, 0], [2, 0.2], [0, 1], [1, 0], [1, 0], [1, 0.5]]))


@pytest.mark.parametrize("block", [1, 256])
def test_nearest_words_have_the_largest_cosines(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(words, "BLOCK", block)
    found = nearest_words(Reader(), VOCABULARY, ["red", "blue", "?", "unheard"], count=2)
    assert found == {"red": ["crimson", "rot"], "blue": ["rot", "crimson"]}


def test_count_beyond_the_vocabulary_gives_all_others() -> None:
    assert nearest_words(Reader(), VOCABULARY, ["red"], count=99) == {"red": ["crimson", "rot", "blue"]}


def test_model_without_word_vectors_is_refused() -> None:
    with pytest.raises(LookupError, match="no table of vectors for 7 tokens"):
        nearest_words(nn.Linear(2, 2), VOCABULARY, ["red"])
