"""A number, or several, in the unit of the data that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{label: number} of the first row: outputs["logits"] (1, D) deviations from the mean."""
    values = outputs["logits"][0].astype(np.float64) * np.asarray(facts["deviation"]) + np.asarray(facts["mean"])
    return {label: float(value) for label, value in zip(labels, values)}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """Each number of logits (R, D), in its own unit."""
    numbers = enumerate(zip(labels, facts["deviation"], facts["mean"]))
    return [
        Explained(label, logits[:, k] * float(deviation) + float(mean), unit="the data's unit") for k, (label, deviation, mean) in numbers
    ]


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: a number, or one line for each."""
    numbers = {label: value for label, value in answer.items() if isinstance(value, float)}
    if len(numbers) == 1:
        return [f"{value:.6g}" for value in numbers.values()]
    return [f"{label}  {value:.6g}" for label, value in numbers.items()]


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """None: a number tips nowhere."""
    return np.zeros(0), np.zeros(0, bool)
