"""Neighbours in the order of keys."""

from __future__ import annotations

import numpy as np

from compress.modalities.near import WINDOW, gather_pairs, neighbours


def test_neighbours_are_the_nearest_in_order() -> None:
    pairs = next(iter(neighbours(np.array([30, 10, 20, 11]))))
    assert pairs.tolist() == [[1, 3], [3, 2], [2, 0]]


def test_neighbours_stay_linear_where_all_keys_are_equal() -> None:
    steps = list(neighbours(np.zeros(1000)))
    assert len(steps) == WINDOW and sum(map(len, steps)) < 1000 * WINDOW


def test_few_keys_have_few_neighbours() -> None:
    assert [sum(map(len, neighbours(np.arange(count)))) for count in (0, 1, 2, 3)] == [0, 0, 1, 3]


def test_pairs_are_gathered_once_smaller_first() -> None:
    assert gather_pairs([np.array([[3, 1], [0, 2]]), np.array([[1, 3]])], 4).tolist() == [[0, 2], [1, 3]]
    assert gather_pairs([], 0).shape == (0, 2)
