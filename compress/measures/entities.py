"""Entities of labelled words by seqeval's rules (those of conlleval): what is counted as one, and precision, recall and F1 of them.

Labels are `O` or a type behind B- (first word), I- (inside) and, as some sets have them, E- or L- (last), S- or U- (single).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

MARKED = re.compile(r"O|[BIELSU]-.+")


def are_marked(names: Sequence[str]) -> bool:
    """Whether all labels are of this form, so that entities mean something."""
    return all(MARKED.fullmatch(name) for name in names) and any(name != "O" for name in names)


def entities(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word) of each entity, in order, as seqeval's default mode finds them: an I- that follows nothing of its type begins one.

    Source: chunks of conlleval, as in seqeval 1.2.2's `get_entities`, whose E- and S- are also written L- and U-.
    """
    found: list[tuple[str, int, int]] = []
    mark, kind, first = "O", "", 0
    for place, label in enumerate([*labels, "O"]):
        new, _, own = label.partition("-")
        if mark != "O" and (new in "OBSU" or mark in "ELSU" or own != kind):
            found.append((kind, first, place - 1))
        if new != "O" and (mark in "OELSU" or new in "BSU" or own != kind):
            first = place
        mark, kind = new, own
    return found


def count_entities(answers: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(R, 3) of each row: entities that both have, that are answered, and that are labelled; answers and labels (R, W) places in names."""
    counts = np.zeros((len(labels), 3), np.int64)
    for row, (given, wanted) in enumerate(zip(answers, labels, strict=True)):
        words = np.flatnonzero((wanted >= 0) & (wanted < len(names)))
        told, right = ({*entities([_name(row[w], names) for w in words])} for row in (given, wanted))
        counts[row] = len(told & right), len(told), len(right)
    return counts


def f1(both: np.ndarray | float, given: np.ndarray | float, wanted: np.ndarray | float) -> np.ndarray:
    """2 both / (given + wanted), 1 where there is nothing to find and nothing was found."""
    total = np.asarray(given + wanted)
    return np.where(total > 0, 2 * np.asarray(both) / np.maximum(total, 1), 1.0)


def f1_interval(counts: np.ndarray, *, draws: int = 1000) -> tuple[float, float]:
    """95 % interval (low, high) of the F1 over all entities of counts (R, 3), by bootstrap over rows."""
    draw = np.random.default_rng(0)
    weights = draw.multinomial(len(counts), np.full(len(counts), 1 / max(1, len(counts))), size=draws)  # (draws, R)
    low, high = np.quantile(f1(*(weights @ counts).T), [0.025, 0.975])
    return float(low), float(high)


def _name(place: int, names: Sequence[str]) -> str:
    return names[place] if 0 <= place < len(names) else "O"
