"""Several heads: an answer of each head's own kind, from its part of the logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import Explained, answerer


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{heads: {head: {task, and what it answers}}} of the first row: outputs["logits"] (1, K), those of the heads behind each other."""
    found = {}
    for head, own in _heads(outputs["logits"], facts):
        room = answerer(head["task"])
        found[head["name"]] = {"task": head["task"], **room.answer({"logits": own}, head["names"], facts=head["facts"], top=top)}
    return {"heads": found}


def explained(logits: Any, answered: Any, labels: Sequence[str], *, facts: Mapping[str, Any], xp: Any = np) -> list[Explained]:
    """What each head's own task explains of its part of the logits (R, K)."""
    found = []
    for (head, own), (_, its) in zip(_heads(logits, facts), _heads(answered, facts)):
        explain = getattr(answerer(head["task"]), "explained", None)
        numbers = explain(own, its, head["names"], facts=head["facts"], xp=xp) if explain else []
        found += [number._replace(head=head["name"]) for number in numbers]
    return found


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: below each head's name its own lines."""
    told = []
    for name, own in answer["heads"].items():
        first, *others = answerer(own["task"]).lines(own)
        told += [f"{name}: {first}", *others]
    return told


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(M,) how far a logit may move before each decision of each head tips, and (M,) the decisions; logits (R, K)."""
    found = [answerer(head["task"]).decisions(own, head["facts"]) for head, own in _heads(logits, facts)]
    margins, decided = zip(*found)
    return np.concatenate(margins), np.concatenate([np.asarray(one, np.int64) for one in decided])


def _heads(logits: np.ndarray, facts: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """Each head with its logits (R, K_h): as many as it has names."""
    start = 0
    for head in facts["heads"]:
        yield head, logits[:, start : start + len(head["names"])]
        start += len(head["names"])
