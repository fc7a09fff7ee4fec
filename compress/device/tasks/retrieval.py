"""A vector of length 1 for each input, all in one space: an input of one kind finds those of another by their cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from . import embedding


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{vectors: {tower: [number]}} of the first row, outputs["logits"] (1, M D); of one tower {vector, tower}. facts["towers"]: their names."""
    names = facts["towers"]
    vectors = {name: [float(value) for value in part] for name, part in zip(names, np.split(outputs["logits"][0], len(names)))}
    return {"vectors": vectors} if len(names) > 1 else {"vector": vectors[names[0]], "tower": names[0]}


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: what is nearest, or the vector of each tower."""
    if "vectors" not in answer:
        return embedding.lines(answer)
    return [f"{name}: {embedding.lines({'vector': vector})[0]}" for name, vector in answer["vectors"].items()]


def rank(answer: Mapping[str, Any], gallery: np.ndarray, items: Sequence[str], top: int) -> list[dict[str, Any]]:
    """[{item, cosine}] of the `top` nearest to an answer's vector in a gallery (N, D) of any length, the nearest first."""
    return embedding.rank(answer, gallery, items, top)


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) how far each number of all vectors (R, M D) may move before another row of another tower is nearest, and (N,) which is."""
    towers = np.split(logits, len(facts["towers"]), axis=1)
    found = [embedding.nearest_of(a, b) for a, b in permutations(towers, 2)]
    margins, nearest = zip(*found)
    return np.concatenate(margins), np.concatenate(nearest)
