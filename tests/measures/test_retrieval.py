"""Retrieval by label: golden ranks, ties that are worth chance, and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from compress.measures import retrieval
from compress.measures.retrieval import rank_across, rank_by_label, unit


def on_a_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def test_ranks_of_a_line_of_neighbours() -> None:
    # from 0: 10 (b), 30 (a); from 10: 0 (a), 30 (a), 100 (b); from 30: 10 (b), 0 (a); from 100: 30, 10 (b)
    ranks = rank_by_label(on_a_circle(0, 10, 30, 100), np.array([0, 1, 0, 1]), on_a_circle(0, 10, 30, 100))
    assert ranks.nearer.tolist() == [1, 2, 1, 1] and ranks.hits.tolist() == [1, 1, 1, 1]
    assert ranks.recall(1).tolist() == [0, 0, 0, 0] and ranks.recall(2).tolist() == [1, 0, 1, 1]
    assert ranks.reciprocal() == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1 / 2])


def test_what_is_equally_near_is_worth_chance() -> None:
    same = np.ones((5, 3))  # of 4 others 1 is a like of rows 0 and 1, 2 of the other rows
    ranks = rank_by_label(same, np.array([0, 0, 1, 1, 1]), same)
    assert ranks.recall(1) == pytest.approx([1 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 2])
    # of 4 in random order the only like is among the first two in 1/2, one of two likes in 1 - 2/4 * 1/3 = 5/6
    assert ranks.recall(2) == pytest.approx([1 / 2, 1 / 2, 5 / 6, 5 / 6, 5 / 6])
    # mean rank of the first of h likes among h + o: 1 + o / (h + 1): 1 + 3 / 2, and 1 + 2 / 3
    assert ranks.reciprocal() == pytest.approx([0.4, 0.4, 0.6, 0.6, 0.6])


def test_rows_without_label_like_or_number_find_nothing_and_are_not_found() -> None:
    vectors = on_a_circle(0, 1, 2, 3, 50, 51)
    vectors[3] = np.nan
    ranks = rank_by_label(vectors, np.array([0, -1, 0, 0, 1, 2]), vectors)
    assert ranks.recall(1).tolist() == [1, 0, 1, 0, 0, 0]


def test_queries_of_one_model_find_their_like_among_the_vectors_of_another() -> None:
    gallery = on_a_circle(0, 90, 5, 95)
    turned = on_a_circle(45, 135, 50, 140)  # the same space, turned by 45 degrees: nearer to their like among themselves alone
    labels = np.array([0, 1, 0, 1])
    assert rank_by_label(turned, labels, turned).recall(1).all()
    assert rank_by_label(turned, labels, gallery).recall(1).tolist() == [1, 1, 0, 1]


def test_blocks_agree_with_a_slow_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 100)
    draw = np.random.default_rng(0)
    vectors, labels = draw.normal(size=(40, 6)), draw.integers(5, size=40)
    ranks = rank_by_label(vectors, labels, vectors)
    for row in range(40):
        cosines = unit(vectors) @ unit(vectors)[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines)[:-1]
        first = int(np.flatnonzero(labels[order] == labels[row])[0])
        assert ranks.reciprocal()[row] == pytest.approx(1 / (first + 1))
        assert ranks.recall(3)[row] == (first < 3)


def test_a_large_gallery_is_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MOST", 3)  # of 6 rows 0, 2 and 4
    ranks = rank_by_label(on_a_circle(0, 1, 90, 91, 180, 181), np.array([0, 0, 1, 1, 2, 2]), on_a_circle(0, 1, 90, 91, 180, 181))
    assert ranks.recall(1).tolist() == [0, 1, 0, 1, 0, 1]


def test_unit_has_no_direction_for_zeros_and_for_what_is_not_finite() -> None:
    found = unit(np.array([[3.0, 4.0], [0.0, 0.0], [np.inf, 1.0]]))
    assert found[0] == pytest.approx([0.6, 0.8]) and np.isnan(found[1:]).all()


def test_a_query_finds_its_partner_in_a_gallery_of_another_modality():
    # texts of a, b and c; the pictures of a and b point at their texts, that of c at b's: hits at 1, 1 and, behind b, at 2
    texts = np.eye(3, dtype=np.float32)
    pictures = np.array([[1, 0, 0], [0, 1, 0], [0, 2, 1]], np.float32)
    ranks = rank_across(pictures, np.arange(3), texts)
    assert ranks.recall(1).tolist() == [1, 1, 0] and ranks.reciprocal().tolist() == [1, 1, 0.5]


def test_a_text_of_many_rows_stands_once_in_the_gallery():
    # nine pictures of a share one text, which the picture of b is nearest to: its own text is the second item, not the tenth
    labels = np.array([0] * 9 + [1])
    texts = np.array([[1, 0]] * 9 + [[0, 1]], np.float32)
    pictures = np.array([[1, 0]] * 9 + [[2, 1]], np.float32)
    ranks = rank_across(pictures, labels, texts)
    assert ranks.recall(2)[-1] == 1 and ranks.reciprocal()[-1] == 0.5


def test_vectors_that_are_all_the_same_find_by_chance_across_modalities():
    ranks = rank_across(np.ones((4, 2)), np.arange(4), np.ones((4, 2)))
    assert ranks.recall(1) == pytest.approx([0.25] * 4)
    assert not rank_across(np.ones((2, 2)), np.array([-1, 0]), np.full((2, 2), np.nan)).recall(1).any()
