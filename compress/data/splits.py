"""Which inputs go where: validation cut from train, limits, and the share that keeps its labels.

All rows of one input (image, or text where there are no images) stay together. Each choice takes the first of a seeded order of the
inputs, so that a smaller share is part of every larger one, and has an order of its own, so that changing one leaves the others alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compress.data.rows import Rows

_VALIDATION, _LIMIT, _LABELLED = range(3)  # one random stream for each choice


def cut_validation(rows: Rows, fraction: float, *, group: str, seed: int) -> tuple[Rows, Rows]:
    """Train and validation. Validation gets `fraction` of the inputs that have a label, at least one and never all; their rows without a
    label belong to neither."""
    labelled = np.unique(rows.codes[group][rows.labels >= 0])
    chosen = _first(labelled, round(fraction * len(labelled)), seed, _VALIDATION, most=len(labelled) - 1)
    held_out = np.isin(rows.codes[group], chosen)
    return rows.keep(~held_out), rows.keep(held_out & (rows.labels >= 0))


def limit(rows: Rows, count: int | None, *, group: str, seed: int) -> Rows:
    """The rows of at most `count` inputs; None is all of them."""
    inputs = np.arange(len(rows.inputs[group]))
    if count is None or count >= len(inputs):
        return rows
    return rows.keep(np.isin(rows.codes[group], _first(inputs, count, seed, _LIMIT)))


def hide_labels(rows: Rows, fraction: float, *, group: str, seed: int) -> Rows:
    """The same rows; of the inputs that have a label, `fraction` (at least one) keeps it, and the rest becomes -1."""
    labelled = np.unique(rows.codes[group][rows.labels >= 0])
    kept = _first(labelled, round(fraction * len(labelled)), seed, _LABELLED)
    return replace(rows, labels=np.where(np.isin(rows.codes[group], kept), rows.labels, -1).astype(np.int32))


def _first(inputs: np.ndarray, count: int, seed: int, stream: int, *, most: int | None = None) -> np.ndarray:
    """The first `count` of a seeded order of `inputs`, at least one, at most `most`."""
    order = np.random.default_rng([seed, stream]).permutation(inputs)
    return order[: min(max(count, 1), len(inputs) if most is None else most)]
