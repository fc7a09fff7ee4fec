"""Which inputs go where: validation cut from train, limits, and the share that keeps its labels.

What stays together is a unit: all rows of one input (image, or text where there are no images), and all inputs of one group. Each choice
walks the units in a seeded order that spreads every label evenly. While all units are of one size, a smaller share is part of every larger
one; groups of several sizes are passed over where they do not fit, so there this holds only roughly. Each choice has an order of its own,
so that changing one leaves the others alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from compress.data.rows import Rows
from compress.errors import DataError
from compress.tasks.labels import unlabelled

_VALIDATION, _LIMIT, _LABELLED, _FOLDS = range(4)  # one random stream for each choice
_NO_PAIRS = np.empty((0, 2), np.int64)


def unite(rows: Rows, pairs: np.ndarray = _NO_PAIRS) -> np.ndarray:
    """(R,) the unit of each row: inputs of one group are one unit, and so are the inputs of each of `pairs` (P, 2)."""
    owners, count = rows.codes[rows.owner], len(rows.inputs[rows.owner])
    grouped = rows.groups >= 0
    links = np.concatenate([np.stack([owners[grouped], count + rows.groups[grouped]], axis=1), pairs])
    if not len(links):
        return owners
    nodes = count + int(rows.groups.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][owners]


def hold_out(rows: Rows, fraction: float, *, seed: int) -> np.ndarray:
    """(R,) bool: the rows that leave train for validation, whole units with about `fraction` of the inputs that have a label.

    Of each label the last unit in the order stays in train, so that no label is lost to it. Raises DataError where that leaves nothing.
    """
    units, weights = _weigh(rows)
    if not weights.any():
        return np.zeros(len(rows), bool)
    place = _arrange(units, rows.strata, seed=seed, stream=_VALIDATION)
    free = np.flatnonzero((weights > 0) & ~_carries_a_label(units, rows.strata, -place))
    if not len(free):
        raise DataError(
            f"data: no validation can be cut from train: {_why_whole(rows, int((weights > 0).sum()))}. Give a validation split."
        )
    return np.isin(units, _fill(free[np.argsort(place[free])], weights, fraction * weights.sum()))


def settle(rows: Rows, held: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(R,) bool: `held` (R,) again, once `pairs` (P, 2) of inputs turned out to be near duplicates: each family goes where its first row was.

    A family larger than the whole validation, or with a label that train would lose, goes to train. Where that would leave no validation
    (everything is like everything), `held` stays.
    """
    units = np.unique(unite(rows, pairs), return_inverse=True)[1]
    first = np.unique(units, return_index=True)[1]
    owners = rows.codes[rows.owner]
    size = np.bincount(units[np.unique(owners, return_index=True)[1]])  # inputs of each unit
    goes = held[first] & (size <= len(np.unique(owners[held])))
    lost = np.setdiff1d(rows.strata[~held], rows.strata[~goes[units]])
    goes[units[np.isin(rows.strata, lost)]] = False
    return goes[units] if goes.any() else held


def limit(rows: Rows, count: int | None, *, seed: int, every_label: bool = False) -> Rows:
    """The rows of at most `count` inputs, unit by unit, the last one perhaps in part; None is all. `every_label`: one unit of each comes first."""
    owners, inputs = rows.codes[rows.owner], len(rows.inputs[rows.owner])
    if count is None or count >= inputs:
        return rows
    units, _ = _weigh(rows)
    place = _arrange(units, rows.strata, seed=seed, stream=_LIMIT)
    if every_label:
        place = place - _carries_a_label(units, rows.strata, place)
    of_input = np.empty(inputs, np.int64)
    of_input[owners] = units
    order = np.lexsort((of_input, place[of_input]))  # whole units: those of one place by number
    return rows.keep(np.isin(owners, order[:count]))


def hide_labels(rows: Rows, fraction: float, *, seed: int) -> Rows:
    """The same rows; of the inputs that have a label about `fraction` keeps it, whole units, one of each label first; the rest has none."""
    units, weights = _weigh(rows)
    if fraction == 1 or not weights.any():
        return rows
    place = _arrange(units, rows.strata, seed=seed, stream=_LABELLED)
    place = place - _carries_a_label(units, rows.strata, place)
    labelled = np.flatnonzero(weights)
    kept = _fill(labelled[np.argsort(place[labelled])], weights, fraction * weights.sum())
    keeps = np.isin(units, kept)
    labels = rows.labels.copy()
    labels[~keeps] = unlabelled(labels, int((~keeps).sum()))
    return replace(rows, labels=labels, strata=np.where(keeps, rows.strata, -1).astype(np.int32))


def deal(units: np.ndarray, strata: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """(R,) the fold of each row, 0 to `count` - 1: rows of one of `units` (R,) int lie together, and each of `strata` (R,) int is spread evenly."""
    own = np.unique(units, return_inverse=True)[1]
    return (count * _arrange(own, strata, seed=seed, stream=_FOLDS)).astype(np.int64)[own]


def _weigh(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """(R,) the unit of each row, counted from 0, and (U,) how many inputs with a label each has."""
    units = np.unique(unite(rows), return_inverse=True)[1]
    labelled = np.flatnonzero(rows.strata >= 0)
    inputs = labelled[np.unique(rows.codes[rows.owner][labelled], return_index=True)[1]]  # a row of each input
    return units, np.bincount(units[inputs], minlength=units.max(initial=-1) + 1)


def _arrange(units: np.ndarray, labels: np.ndarray, *, seed: int, stream: int) -> np.ndarray:
    """(U,) floats in [0, 1) to sort units by, so that each prefix has a like share of each label.

    A unit counts for its rarest label; the n units of a label get (rank + offset) / n, ranks and offset being drawn.
    """
    unit, label = _distinct_labels(units, labels)
    rarity = np.where(label < 0, len(units) + 1, np.bincount(label + 1)[label + 1])  # unlabelled rows count where there are no others
    order = np.lexsort((label, rarity, unit))
    stratum = label[order[np.unique(unit[order], return_index=True)[1]]] + 1  # (U,)
    draw = np.random.default_rng([seed, stream])
    sizes = np.bincount(stratum)
    order = np.lexsort((draw.permutation(len(stratum)), stratum))
    rank = np.empty(len(stratum))
    rank[order] = np.arange(len(stratum)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (rank + draw.random(len(sizes))[stratum]) / sizes[stratum]


def _carries_a_label(units: np.ndarray, labels: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(U,) bool: the units that are, for some label, the first by `place` (U,) to have it."""
    unit, label = _distinct_labels(units, labels)
    unit, label = unit[label >= 0], label[label >= 0]
    order = np.lexsort((place[unit], label))
    carries = np.zeros(len(place), bool)
    carries[unit[order[np.unique(label[order], return_index=True)[1]]]] = True
    return carries


def _distinct_labels(units: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of a unit and a label that occurs, once, sorted."""
    span = int(labels.max(initial=-1)) + 2
    pairs = np.sort(units * span + labels + 1)
    pairs = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]  # np.unique alone hashes, five times slower on a million rows
    return pairs // span, pairs % span - 1


def _fill(order: np.ndarray, weights: np.ndarray, target: float) -> list[int]:
    """Units of `order`, each taken if that brings their sum of `weights` nearer to `target`; at least the lightest."""
    chosen, total = [], 0
    for unit, weight in zip(order.tolist(), weights[order].tolist()):
        if total + weight / 2 <= target:
            chosen.append(unit)
            total += weight
    return chosen or [int(order[weights[order].argmin()])]


def _why_whole(rows: Rows, units: int) -> str:
    what = "group" if (rows.groups >= 0).any() else rows.owner
    if units == 1:
        return f"all its labelled rows belong to one {what}"
    return f"each of its {units:,} {what}s has a label that no other has"
