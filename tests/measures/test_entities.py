"""Entities by seqeval's rules: its own documented examples, and cases that its rules decide."""

from __future__ import annotations

import numpy as np
import pytest

from compress.measures.entities import are_marked, count_entities, entities, f1, f1_interval

NAMES = ["O", "B-LOC", "B-MISC", "B-PER", "I-MISC", "I-PER"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # seqeval's documentation of get_entities
        ("O I-PER I-PER", [("PER", 1, 2)]),  # an I- that follows nothing begins one
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # another type is another entity
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("B-PER E-PER I-PER", [("PER", 0, 1), ("PER", 2, 2)]),  # behind the last word another one begins
        ("S-PER S-PER O", [("PER", 0, 0), ("PER", 1, 1)]),
        ("U-PER B-LOC L-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
        ("B-ORG-X I-ORG-X", [("ORG-X", 0, 1)]),
        ("O O", []),
    ],
)
def test_entities_are_found_as_by_conlleval(labels: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(labels.split()) == found


def places(*rows: str, words: int = 7) -> np.ndarray:
    codes = [[NAMES.index(name) for name in row.split()] for row in rows]
    return np.array([code + [len(NAMES)] * (words - len(code)) for code in codes])


def test_f1_is_that_of_seqevals_example() -> None:
    labels = places("O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O")
    answers = places("O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O")
    counts = count_entities(answers, labels, NAMES)
    assert counts.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert f1(*counts.sum(0)) == pytest.approx(0.5)  # seqeval.metrics.f1_score prints 0.50
    assert f1(*counts.T).tolist() == [0, 1]


def test_places_without_a_word_and_answers_that_are_none_do_not_count() -> None:
    labels, answers = places("B-PER"), places("B-PER B-PER B-PER")
    assert count_entities(answers, labels, NAMES).tolist() == [[1, 1, 1]]
    assert count_entities(np.full((1, 7), -1), labels, NAMES).tolist() == [[0, 0, 1]]
    assert f1(0, 0, 0) == 1  # nothing to find, nothing found


def test_interval_holds_the_f1_and_is_wider_of_fewer_rows() -> None:
    draw = np.random.default_rng(0)
    both = draw.integers(0, 3, size=400)
    counts = np.stack([both, both + draw.integers(0, 2, size=400), both + draw.integers(0, 2, size=400)], 1)
    ends = [f1_interval(part) for part in (counts, counts[:40])]
    assert all(low < f1(*part.sum(0)) < high for (low, high), part in zip(ends, (counts, counts[:40]), strict=True))
    assert np.diff(ends[0]) < np.diff(ends[1])


def test_labels_mark_entities_or_do_not() -> None:
    assert are_marked(NAMES) and not are_marked(["O"]) and not are_marked(["NOUN", "VERB"])
