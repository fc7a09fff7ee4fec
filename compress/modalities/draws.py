"""Random numbers by place: what is drawn for an input depends on seed, view and input alone, not on who else is in its batch."""

from __future__ import annotations

import numpy as np

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def uniforms(seed: int, view: int, index: np.ndarray, count: int) -> np.ndarray:
    """(N, count) float64 in [0, 1) for the inputs `index` (N,).

    Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 14), its counter made of seed, view, input and column.
    """
    with np.errstate(over="ignore"):
        start = _mix(_mix(np.array([seed], np.uint64)) + np.uint64(view))
        x = _mix(start + index.astype(np.uint64))[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        return (_mix(x) >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
