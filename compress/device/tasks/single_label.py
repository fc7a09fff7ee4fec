"""One of K labels: the most probable one, and the next ones in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{label, probability, top: [{label, probability}]} of the first row: outputs["logits"] (1, K), over the temperature of `facts`."""
    p = _probabilities(outputs["logits"][:1], facts)[0]  # (K,)
    ranked = [{"label": labels[k], "probability": float(p[k])} for k in np.argsort(-p, kind="stable")[:top]]
    return {**ranked[0], "top": ranked}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """What logits (R, K) give to the most probable labels of `answered` (R, K), over the temperature of `facts`."""
    scaled = logits / float(facts.get("temperature", 1.0))
    p = xp.exp(scaled - xp.amax(scaled, 1)[:, None])
    return [Explained("its probability", p[xp.arange(len(p)), answered.argmax(1)] / p.sum(1))]


def probability(outputs: dict[str, np.ndarray], answered: dict[str, np.ndarray], *, facts: Mapping[str, Any]) -> np.ndarray:
    """(R,) what `outputs` give to the most probable labels of `answered`; both hold logits (R, K)."""
    (found,) = explained(outputs["logits"].astype(np.float64), answered["logits"], [], facts=facts)
    return np.asarray(found.values)


def _probabilities(logits: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """(R, K), each row's sum 1."""
    scaled = logits.astype(np.float64) / float(facts.get("temperature", 1.0))
    p = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it."""
    return [f"{answer['label']}  {answer['probability']:.3f}"] + [f"  {e['probability']:.3f}  {e['label']}" for e in answer["top"]]


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(R,) half of how far the two largest of the logits (R, K) lie apart, and (R,) which is the largest."""
    top = np.sort(logits, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]) / 2, logits.argmax(axis=1)
