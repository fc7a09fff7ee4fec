"""Metrics of retrieval by label: a query (R, D) ranks a gallery by cosine, and what has its label is a hit; in numpy, block by block.

The gallery is that of the other rows (`rank_by_label`), or what another modality makes of all rows (`rank_across`).

Rank and hits count what is equally near as if drawn in random order, so that vectors that are all the same are worth chance, not luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 1e-6  # cosines that lie within are equal: sums in another order move the last digits
BLOCK = 4_000_000  # cosines that are held at once
MOST = 20_000  # rows of a gallery; of more, as many evenly spread ones


@dataclass(frozen=True)
class Ranks:
    """Of each query (R,), before its first hit: others that are `nearer`, and among what is as near as that hit, `others` and `hits`.

    `hits` is 0 where the gallery holds none.
    """

    nearer: np.ndarray
    others: np.ndarray
    hits: np.ndarray

    def recall(self, k: int) -> np.ndarray:
        """(R,) the probability that one of the first k is a hit."""
        ties, left = self.others + self.hits, k - self.nearer
        missed = np.ones(len(ties))
        for place in range(k):  # one more of the ties is drawn, and is no hit
            chance = np.clip((self.others - place) / np.maximum(ties - place, 1), 0, 1)
            missed = np.where(place < left, missed * chance, missed)
        return np.where(self.hits > 0, 1 - missed, 0.0)

    def reciprocal(self) -> np.ndarray:
        """(R,) 1 / rank of the first hit, of ties its mean rank; 0 where there is none."""
        return np.where(self.hits > 0, 1 / (self.nearer + 1 + self.others / (self.hits + 1)), 0.0)


def rank_by_label(queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> Ranks:
    """How each query (R, D) finds its like in the gallery (R, D), whose row i is of the same input as query i and left out for it.

    labels (R,): negative where a row has none; such rows, and those that are not finite, are neither found nor find anything.
    """
    queries, stored = unit(queries), unit(gallery)
    sound = (labels >= 0) & np.isfinite(stored).all(1)
    place = np.flatnonzero(sound)
    if len(place) > MOST:
        place = place[np.arange(MOST) * len(place) // MOST]
    return _rank(queries, labels, stored, place, without_own=True)


def rank_across(queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> Ranks:
    """How each query (R, D) finds its like in a gallery (R, D) of another modality, whose row i belongs to query i and is one of its likes.

    Rows of one label with the same vector are one item of the gallery: ten pictures of one name do not put that name there ten times.
    labels as in `rank_by_label`.
    """
    stored = unit(gallery)
    place = _distinct(stored, np.flatnonzero((labels >= 0) & np.isfinite(stored).all(1)), labels)
    return _rank(unit(queries), labels, stored, place, without_own=False)


def _distinct(vectors: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One of all `rows` (n,) that have the same label and vector: equal ones lie side by side in the order of a direction drawn by chance."""
    direction = np.random.default_rng(0).normal(size=vectors.shape[1])
    rows = rows[np.lexsort((vectors[rows] @ direction, labels[rows]))]
    before, after = rows[:-1], rows[1:]
    same = (labels[before] == labels[after]) & ((vectors[before] * vectors[after]).sum(1) > 1 - NEAR)
    return np.asarray(rows[np.append(True, ~same)[: len(rows)]])


def _rank(queries: np.ndarray, labels: np.ndarray, stored: np.ndarray, place: np.ndarray, *, without_own: bool) -> Ranks:
    """Of queries (R, D) among the rows `place` (G,) of `stored` (R, D), both of length 1."""
    stored, found = stored[place], np.zeros((3, len(queries)))
    step = max(1, BLOCK // max(1, len(place)))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        own = (rows[:, None] == place) & without_own
        found[:, rows] = _count(np.nan_to_num(queries[rows]) @ stored.T, labels[rows][:, None] == labels[place], own)
    found[:, (labels < 0) | ~np.isfinite(queries).all(1)] = 0
    return Ranks(*found)


def unit(vectors: np.ndarray) -> np.ndarray:
    """(R, D) float32 over their length; NaN throughout where a number is not finite, or all are 0."""
    vectors = np.asarray(vectors, np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(length) & (length > 0), vectors / length, np.nan).astype(np.float32)


def _count(cosines: np.ndarray, alike: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(3, R): `Ranks` of cosines (R, G), alike and own (R, G) bool."""
    alike = alike & ~own
    best = np.where(alike, cosines, -np.inf).max(1, initial=-np.inf, keepdims=True)  # (R, 1)
    as_near = cosines >= best - NEAR
    nearer, other = cosines > best + NEAR, ~alike & ~own
    there = np.isfinite(best[:, 0])
    counts = [(nearer & other).sum(1), (as_near & ~nearer & other).sum(1), (as_near & alike).sum(1)]
    return np.where(there, np.array(counts), 0)
