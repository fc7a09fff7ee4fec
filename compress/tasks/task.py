"""`Task`: all that the program must know of one kind of answer; a room is a subclass that says what differs.

What a device needs is a second file, in compress/device/tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.io_spec import Port
from compress.tables import TASKS, resolve

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric


class Task:
    """One kind of answer. Literals are read from source by `check`, which runs nothing."""

    column: ClassVar[str] = "label"  # of a source's table
    losses: ClassVar[tuple[str, ...]] = ()  # names in LOSSES that fit; those of a plugin always may be tried
    metric: ClassVar[str] = ""  # the name in `metrics` that decides

    def __init__(self, name: str) -> None:
        self.name = name

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """What an answer may be, from the training split's column, in the order of the model's outputs."""
        raise NotImplementedError

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The answers (R, ...) as numbers, negative where there is none or an unknown one; and (R,) bool where there is none."""
        raise NotImplementedError

    def port(self, names: list[str]) -> Port:
        """What a model gives out."""
        raise NotImplementedError

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What is measured."""
        raise NotImplementedError

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R,) answers to logits (R, K); -1, which no label equals, where a logit is not finite."""
        raise NotImplementedError

    def right(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) bool: which rows are answered right; logits (R, K), labels (R, ...)."""
        raise NotImplementedError

    def score(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """The deciding metric over the labelled rows; the higher the better."""
        raise NotImplementedError

    def sentence(self, names: list[str]) -> str:
        """What the task is, for the model card."""
        raise NotImplementedError


@cache
def task(name: str) -> Task:
    """The room of a task."""
    found: Any = resolve(TASKS[name])(name)
    return found
