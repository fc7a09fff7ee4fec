"""Several of K tags: those whose logit is above the tag's threshold, the most probable first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{tags: [label], top: [{label, probability, threshold}]} of the first row: outputs["logits"] (1, K); `top` has at least all tags given."""
    logits = outputs["logits"][0].astype(np.float64)  # (K,)
    thresholds = _thresholds(logits, facts)
    order = np.argsort(-logits, kind="stable")
    given = [k for k in order if logits[k] > thresholds[k]]
    shown = [*given, *[k for k in order if k not in given][: max(0, top - len(given))]]
    ranked = [{"label": labels[k], "probability": _sigmoid(logits[k]), "threshold": _sigmoid(thresholds[k])} for k in shown]
    return {"tags": [labels[k] for k in given], "top": ranked}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """The mean probability that logits (R, K) give to the tags of `answered` (R, K); where it has none, that of its likeliest tag."""
    thresholds = xp.asarray(_thresholds(np.zeros(len(labels)), facts))
    likeliest = answered >= xp.amax(answered, 1)[:, None]
    given = answered > thresholds
    asked = xp.where(given.any(1)[:, None], given, likeliest)
    p = 0.5 * (1 + xp.tanh(0.5 * logits))
    return [Explained("the mean probability of its tags", (p * asked).sum(1) / asked.sum(1))]


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: the tags, then each with its probability and the one from which it is given."""
    tags = ", ".join(answer["tags"]) or "none"
    return [tags] + [f"  {e['probability']:.3f}  {e['label']} (given from {e['threshold']:.3f})" for e in answer["top"]]


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(R K,) how far each of the logits (R, K) is from its threshold, and (R K,) bool whether its tag is given."""
    beyond = logits - _thresholds(logits, facts)
    return np.abs(beyond).reshape(-1), (beyond > 0).reshape(-1)


def _thresholds(logits: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(facts.get("thresholds", np.zeros(logits.shape[-1])), np.float32)


def _sigmoid(logit: float) -> float:
    return float(0.5 * (1 + np.tanh(0.5 * logit)))
