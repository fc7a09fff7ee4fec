"""Same or not: a vector of length 1, and the cosine from which two vectors are of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained, embedding

PARTNERS = 64  # rows that each row is paired with where forms of a model are compared


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{vector: [number], threshold} of the first row: outputs["logits"] (1, D)."""
    return {**embedding.answer(outputs, labels, facts=facts, top=top), "threshold": float(facts.get("threshold", 0.0))}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """That of `embedding`."""
    return embedding.explained(logits, answered, labels, facts=facts, xp=xp)


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: of what it was held against whether it is the same, or the vector."""
    if "ranked" in answer:
        return [f"{entry['cosine']:.3f}  {'same' if entry['same'] else 'different'}  {entry['item']}" for entry in answer["ranked"]]
    return embedding.lines(answer)


def rank(answer: Mapping[str, Any], gallery: np.ndarray, items: Sequence[str], top: int) -> list[dict[str, Any]]:
    """[{item, cosine, same}] of the `top` nearest in a gallery (N, D) of any length, the nearest first."""
    ranked = embedding.rank(answer, gallery, items, top)
    return [{**entry, "same": entry["cosine"] >= answer["threshold"]} for entry in ranked]


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(P,) how far each number of all vectors (R, D) may move before a pair tips, and (P,) bool whether it is the same, of each row with the
    PARTNERS behind it.

    Moved by e in each number, a vector moves by e sqrt(D), and the cosine of two by at most 2 e sqrt(D).
    """
    rows, size = logits.shape
    reach = min(PARTNERS, rows - 1)
    cosines = [(logits * np.roll(logits, -step, 0)).sum(1) for step in range(1, reach + 1)]
    beyond = (np.concatenate(cosines) if cosines else np.zeros(0)) - float(facts.get("threshold", 0.0))
    return np.abs(beyond) / (2 * size**0.5), beyond >= 0
