"""How the runner turns a model's outputs into an answer: one file a task, named as models.json names it."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import DeviceError


class Explained(NamedTuple):
    """One number of an answer that inputs contribute to."""

    what: str  # in words, as behind "of"
    values: Any  # (R,), of the answers that the rows have as they are
    unit: str = "points"  # points: hundredths of the number; else the number's own, in words
    head: str = ""  # of several


TASKS = ("single_label", "multi_label", "regression", "embedding", "verification", "retrieval", "token_labels", "segmentation", "several")


def answerer(name: str) -> ModuleType:
    """The module of the task `name`, with `answer(outputs, labels, facts, top)`, `lines(answer)` and `decisions(logits, facts)`.

    One whose answers owe something to each of several inputs has `explained(logits, answered, labels, facts, xp)`, the numbers of `Explained` in
    which that is told; numpy or torch calculates them. One whose answers show what was asked has `beside(answer, given)`, the answer with it; one whose answers are no text alone
    has `save(answer, given, out)`, which writes them to a file.

    Raises DeviceError where there is none.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise DeviceError(f"{name!r} is no name of a task; copy the bundle again")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise DeviceError(f"this runner does not know the task {name!r}; copy the bundle again") from None
