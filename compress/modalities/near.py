"""Pairs worth a closer look: inputs that stand near each other once they are sorted by a key, so that no two of all are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

WINDOW = 16  # places; of a family of more the nearest in the order are found, which link it all the same


def neighbours(keys: np.ndarray) -> Iterator[np.ndarray]:
    """(P, 2) indices of keys (N,) that stand 1, 2 ... WINDOW places apart in their order."""
    order = np.argsort(keys, kind="stable")
    for step in range(1, min(WINDOW, len(keys) - 1) + 1):
        yield np.stack([order[:-step], order[step:]], axis=1)


def gather_pairs(found: Sequence[np.ndarray], count: int) -> np.ndarray:
    """(P, 2) int64: each pair of the arrays of `found` once, smaller index first, sorted; indices are below `count`."""
    pairs = np.sort(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=1)
    codes = np.sort(pairs[:, 0] * count + pairs[:, 1])
    codes = codes[np.flatnonzero(np.diff(codes, prepend=-1))]
    return np.stack([codes // max(count, 1), codes % max(count, 1)], axis=1)
