"""Metrics of retrieval by label: a query (R, D) ranks a gallery by cosine, and what has its label is a hit; in numpy, block by block.

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
    stored, found = stored[place], np.zeros((3, len(queries)))
    step = max(1, BLOCK // max(1, len(place)))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        found[:, rows] = _count(np.nan_to_num(queries[rows]) @ stored.T, labels[rows][:, None] == labels[place], rows[:, None] == place)
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
