"""Texts that differ in little are found, others are not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from compress.modalities.near_texts import near_texts, overlap, sign

TRAIN = [
    "I am still waiting for my new card to arrive",
    "How do I top up my account by cheque?",
    "Which currencies do you support",
    "ok",
    "😀",
]


@pytest.mark.parametrize(
    "copy",
    [
        "I am still waiting for my new card to arrive",
        "i am STILL waiting, for my new card - to arrive!",
        "I am still waiting for my new card to come",
        "I am still waiting for my card to arrive",
        "I  am still waiting for my ｎｅｗ card to arrive",
    ],
)
def test_copy_is_found_in_another_split(copy: str) -> None:
    assert near_texts([pa.array(TRAIN), pa.array(["What is the weather like in Rome today?", copy])]).tolist() == [[0, 6]]


@pytest.mark.parametrize("text", ["I was charged a fee that I do not know", "Which card do you support", "no", "😡", "ok ok"])
def test_other_text_is_not_near(text: str) -> None:
    assert len(near_texts([pa.array(TRAIN), pa.array([text])])) == 0


def test_overlap_counts_runs_of_four_characters() -> None:
    # " abc ", " abd ": runs " abc", "abc " and " abd", "abd "; " abcd " and " abcde " share " abc", "abcd" of "bcd " and "bcde", "cde "
    assert overlap("abc", "abd") == 0 and overlap("abcd", "Abcde.") == 2 / 5 and overlap("a-b", "A b") == 1


def test_signature_agrees_by_the_overlap() -> None:
    texts = ["a rather long sentence about nothing in particular that goes on", "a rather long sentence about nothing in particular"]
    first, second = sign(texts)
    assert abs((first == second).mean() - overlap(*texts)) < 0.2  # 3.4 deviations of 64 hashes


def test_no_texts_have_no_pairs() -> None:
    assert near_texts([pa.array([], pa.string()), pa.array(["a"])]).shape == (0, 2)
