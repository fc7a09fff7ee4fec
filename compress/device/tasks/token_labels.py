"""A label for each word, by the first of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{labels: [{label, probability}]} of each word of the first row: outputs["logits"] (1, W K), 0 where there is no word."""
    logits = outputs["logits"][0].astype(np.float64).reshape(-1, len(labels))  # (W, K)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    there = np.flatnonzero((logits != 0).any(1))
    return {"labels": [{"label": labels[k], "probability": float(p[w, k])} for w, k in zip(there, logits[there].argmax(1))]}


def beside(answer: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with the words of the text that it is of; words that the model has not read have no label."""
    text = given.get("text")
    words = text.split() if isinstance(text, str) else list(text) if isinstance(text, (list, tuple)) else []
    told = answer["labels"]
    return {
        **answer,
        "labels": [{**entry, "word": word} for entry, word in zip(told, words)] if words else told,
        "unread": words[len(told) :],
    }


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: word/label, then what was not read."""
    told = " ".join(f"{entry['word']}/{entry['label']}" if "word" in entry else entry["label"] for entry in answer["labels"])
    unread = answer.get("unread")
    return [told] + ([f"not read: {' '.join(unread)}"] if unread else [])


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) half of how far the two largest of a word's logits lie apart, and (N,) which is the largest, of all places for words of (R, W K)."""
    by_word = logits.reshape(-1, len(facts["names"]))
    top = np.sort(by_word, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]) / 2, by_word.argmax(1)
