"""Measures of verification: is a pair of rows of one kind? It is said to be where the cosine of their vectors (R, D) reaches a threshold.

A pair is *same* where both rows have one label, *different* where not; in numpy, block by block. Rows without a label or not finite are in no pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.measures.retrieval import BLOCK, unit

MOST = 1_000  # rows whose pairs an error rate is counted on: half a million pairs
DIGITS = 6  # of a cosine: sums in another order move those behind
DRAWN = 200  # times that rows are drawn for an interval
MANY = 20  # labels from which on an interval draws labels, so that it speaks of other people and not of other recordings alone


@dataclass(frozen=True)
class Pairs:
    """P pairs, the most alike first: cosine (P,), same (P,) bool, and the numbers of both rows (P,) among `labels` (R,)."""

    cosine: np.ndarray
    same: np.ndarray
    left: np.ndarray
    right: np.ndarray
    labels: np.ndarray


def told_right(queries: np.ndarray, labels: np.ndarray, stored: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(R,) of each query (R, D) the mean of two shares: of its likes among the other stored rows (R, D) those that reach its threshold (R,),
    and of the rest those that do not. A row that has one kind of partner alone is judged by it; a row without any gets 0."""
    queries, gallery, labels = unit(queries), unit(stored), np.asarray(labels)
    sound = (labels >= 0) & np.isfinite(gallery).all(1)
    gallery, gains = np.nan_to_num(gallery), np.zeros(len(queries))
    step = max(1, BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        accepted = np.nan_to_num(queries[rows]) @ gallery.T >= thresholds[rows, None]
        partner = sound[None] & (rows[:, None] != np.arange(len(gallery)))
        alike = partner & (labels[rows, None] == labels[None])
        other = partner & ~alike
        counts = np.stack([alike.sum(1), other.sum(1)])  # (2, r)
        shares = np.stack([(alike & accepted).sum(1), (other & ~accepted).sum(1)]) / np.maximum(counts, 1)
        gains[rows] = shares.sum(0) / np.maximum((counts > 0).sum(0), 1)
    gains[(labels < 0) | ~np.isfinite(queries).all(1)] = 0
    return gains


def pairs_of(queries: np.ndarray, labels: np.ndarray, stored: np.ndarray | None = None) -> Pairs:
    """Each two rows once; with `stored` (R, D), vectors of the same rows by another model, each query with every other stored row.

    Of more than MOST rows whole labels, drawn by chance, are taken, and of these as many rows as that, evenly spread.
    """
    queries, labels = unit(queries), np.asarray(labels)
    gallery = queries if stored is None else unit(stored)
    place = np.flatnonzero((labels >= 0) & np.isfinite(queries).all(1) & np.isfinite(gallery).all(1))
    if len(place) > MOST:
        place = _thin(place, labels)
    own, cosines = labels[place], np.round(queries[place] @ gallery[place].T, DIGITS)
    left, right = np.nonzero(np.triu(np.ones(cosines.shape, bool), 1) if stored is None else ~np.eye(len(place), dtype=bool))
    order = np.argsort(-cosines[left, right], kind="stable")
    left, right = left[order], right[order]
    return Pairs(cosines[left, right], own[left] == own[right], left, right, own)


def equal_error(pairs: Pairs, weight: np.ndarray | None = None) -> tuple[float, float]:
    """The rate at which as large a share of the different pairs is taken for same as of the same ones for different, and the cosine where.

    Between two thresholds the mean of both shares at the nearer one. NaN where one kind is missing. weight: (P,) of each pair.
    """
    weight = np.ones(len(pairs.same)) if weight is None else weight
    same, other = np.where(pairs.same, weight, 0.0), np.where(pairs.same, 0.0, weight)
    if not same.any() or not other.any():
        return float("nan"), float("nan")
    ends = np.append(pairs.cosine[1:] < pairs.cosine[:-1], True)  # equal cosines stand and fall together
    accepted = np.append(0.0, np.cumsum(other)[ends] / other.sum())
    refused = 1 - np.append(0.0, np.cumsum(same)[ends] / same.sum())
    least = int(np.abs(accepted - refused).argmin())
    steps = np.concatenate([[np.nextafter(np.float32(1), np.float32(2))], pairs.cosine[ends], [-1.0]])  # the cosines from above to below
    threshold = (steps[least] + steps[least + 1]) / 2
    return float((accepted[least] + refused[least]) / 2), float(threshold)


def equal_error_interval(pairs: Pairs) -> tuple[float, float]:
    """95 % interval (low, high) of the rate, by bootstrap: labels are drawn anew where there are MANY, else rows; NaN where one kind is missing.

    Of fewer labels it says how sure the rate is of these people, and nothing of others. Source: Bolle, Ratha and Pankanti, "Error analysis of
    pattern recognition systems - the subsets bootstrap", 2004.
    """
    draw, names = np.random.default_rng(0), np.unique(pairs.labels, return_inverse=True)[1]
    by_label = names.max(initial=-1) + 1 >= MANY
    count = names.max(initial=-1) + 1 if by_label else len(names)
    found = []
    for _ in range(DRAWN):
        drawn = np.bincount(draw.integers(count, size=count), minlength=count).astype(float)
        own = drawn[names] if by_label else drawn
        weight = own[pairs.left] * own[pairs.right]
        if by_label:
            weight = np.where(pairs.same, own[pairs.left], weight)  # a label drawn twice is two labels of the same rows
        found.append(equal_error(pairs, weight)[0])
    if np.isnan(found).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _thin(place: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """MOST of the rows `place`, of as few labels as hold so many, but at least of two."""
    names, codes, counts = np.unique(labels[place], return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    taken = max(2, int(np.searchsorted(np.cumsum(counts[order]), MOST)) + 1)
    kept = place[np.isin(codes, order[:taken])]
    kept = kept[np.argsort(labels[kept], kind="stable")]
    return kept[np.arange(min(MOST, len(kept))) * len(kept) // min(MOST, len(kept))]
