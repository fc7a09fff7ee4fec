"""A vector of length 1 whose cosine ranks: what is nearest in a gallery is most alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained

BLOCK = 4_000_000  # cosines that are held at once


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{vector: [number]} of the first row: outputs["logits"] (1, D)."""
    return {"vector": [float(value) for value in outputs["logits"][0]]}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """The cosine of the vectors (R, D) with those of `answered` (R, D), which is 1 of a row as it is."""
    return [Explained("its cosine with the whole answer", (logits * answered).sum(1))]


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: what is nearest, or the vector."""
    if "ranked" in answer:
        return [f"{entry['cosine']:.3f}  {entry['item']}" for entry in answer["ranked"]]
    return [" ".join(f"{value:.6g}" for value in answer["vector"])]


def rank(answer: Mapping[str, Any], gallery: np.ndarray, items: Sequence[str], top: int) -> list[dict[str, Any]]:
    """[{item, cosine}] of the `top` nearest to an answer's vector in a gallery (N, D) of any length, the nearest first; of equally near ones the first.

    Vectors of fewer numbers are ranked by as many of the answer's first ones."""
    query = np.asarray(answer["vector"], np.float32)[: gallery.shape[1]]
    lengths = np.maximum(np.linalg.norm(gallery, axis=1) * np.linalg.norm(query), 1e-12)
    cosines = gallery @ query / lengths
    return [{"item": items[i], "cosine": float(cosines[i])} for i in np.argsort(-cosines, kind="stable")[:top]]


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(R,) how far each number of all vectors (R, D) may move before another of these rows is a row's nearest, and (R,) which is; none of 2."""
    return nearest_of(logits, logits, others=True)


def nearest_of(queries: np.ndarray, gallery: np.ndarray, *, others: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """`decisions` of which row of a gallery (R, D) is nearest to each query (R, D); `others`: the row itself is none.

    Moved by e in each number, a vector moves by e sqrt(D), and a difference of two cosines by at most 4 e sqrt(D).
    """
    rows, size = queries.shape
    if rows < 2 + others:
        return np.zeros(0), np.zeros(0, np.int64)
    margins, nearest = np.zeros(rows), np.zeros(rows, np.int64)
    step = max(1, BLOCK // rows)
    for start in range(0, rows, step):
        cosines = queries[start : start + step] @ gallery.T
        place = np.arange(len(cosines))
        if others:
            cosines[place, start + place] = -np.inf
        nearest[start : start + step] = cosines.argmax(1)
        top = np.partition(cosines, rows - 2, axis=1)[:, -2:]
        margins[start : start + step] = (top[:, 1] - top[:, 0]) / (4 * size**0.5)
    return margins, nearest
