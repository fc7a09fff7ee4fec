"""Stored answers in part: the likeliest are kept, the rest share what is left, and who reads them sees an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.recipe.cost import stored_bytes
from compress.training.top_k import TopK, create, describe_lost, open_logits, view_of

LOGITS = np.random.default_rng(0).normal(size=(2, 6, 40)).astype(np.float32) * 4


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def write(folder: Path, keep: int | None) -> None:
    stored = create(folder, LOGITS.shape, keep)
    for view in range(2):
        for rows in (np.array([1, 4, 0]), slice(2, 4), [5]):
            view_of(stored, view)[rows] = LOGITS[view][rows]
    stored.flush()


def test_kept_probabilities_are_the_largest_and_the_rest_share_what_is_left(tmp_path: Path) -> None:
    write(tmp_path, 5)
    p, found = softmax(LOGITS), softmax(open_logits(tmp_path, views=2, classes=40)[np.array([0, 1, 1]), np.array([3, 0, 5])])
    for row, (view, place) in enumerate(((0, 3), (1, 0), (1, 5))):
        expected, order = p[view, place], np.argsort(-p[view, place])
        np.testing.assert_allclose(found[row][order[:5]], expected[order[:5]], rtol=5e-3)
        lost = 1 - expected[order[:5]].sum()
        np.testing.assert_allclose(found[row][order[5:]], lost / 35, rtol=0.05)
        assert found[row].sum() == pytest.approx(1)


def test_keeping_all_is_the_whole_array_and_lost_mass_is_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, 40)
    whole = open_logits(tmp_path, views=2, classes=40)
    assert isinstance(whole, np.ndarray) and describe_lost(whole) == {}
    np.testing.assert_allclose(whole, LOGITS, atol=0.01)
    (tmp_path / "part").mkdir()
    write(tmp_path / "part", 5)
    part = open_logits(tmp_path / "part", views=2, classes=40)
    lost = 1 - np.sort(softmax(LOGITS), -1)[..., -5:].sum(-1)
    assert part.lost() == pytest.approx(lost.mean(), abs=1e-3)
    assert describe_lost(part)["top_k_in_words"].startswith("of 40 answers the 5 likeliest are stored; the others have ")


def test_it_reads_like_an_array_also_where_one_answer_is_for_all_views(tmp_path: Path) -> None:
    stored = create(tmp_path, (1, 6, 40), 5)
    view_of(stored, 0)[:] = LOGITS[0]
    stored.flush()
    repeated = open_logits(tmp_path, views=3, classes=40)
    assert repeated.shape == (3, 6, 40) and len(list(repeated)) == 3 and repeated[2].shape == (6, 40)
    np.testing.assert_array_equal(repeated[np.array([0, 2]), np.array([4, 4])][0], repeated[1, 4])
    np.testing.assert_array_equal(repeated[0, :3], repeated[2][:3])


def test_bytes_that_a_plan_tells_are_those_on_disk(tmp_path: Path) -> None:
    for keep in (None, 5):
        stored = create(tmp_path, LOGITS.shape, keep)
        arrays = [stored.log_p, stored.places, stored.rest] if isinstance(stored, TopK) else [stored]
        assert sum(array.nbytes for array in arrays) == stored_bytes(*LOGITS.shape, keep)
    assert stored_bytes(1, 400_000, 3129, 64) < stored_bytes(1, 400_000, 3129) / 24
