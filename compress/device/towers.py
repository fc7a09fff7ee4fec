"""A model whose inputs each have a tower of their own, behind the call of `Session`: what is asked of one input costs that input's tower alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Towers:
    """`run` gives `logits` (R, m D) of the m inputs that it is given, in the order of the model's; a tower is opened with its first input."""

    def __init__(self, inputs: list[str], open_tower: Callable[[str], Any]) -> None:
        self.inputs, self.outputs, self._open = inputs, ["logits"], open_tower
        self._opened: dict[str, Any] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The vectors behind each other."""
        return {"logits": np.concatenate([self._of(name).run({name: feeds[name]})["logits"] for name in self.inputs if name in feeds], 1)}

    def close(self) -> None:
        """Lets go of all of them."""
        opened, self._opened = self._opened, {}
        for session in opened.values():
            if hasattr(session, "close"):
                session.close()

    def _of(self, name: str) -> Any:
        if name not in self._opened:  # two threads may both open it: the second one's stays, and answers the same
            self._opened[name] = self._open(name)
        return self._opened[name]


class Whole:
    """The same from one file with all towers, for runtimes that have no file a tower: what is not given gets a stand-in, and its vector is left out."""

    def __init__(self, session: Any, stand_ins: Mapping[str, np.ndarray]) -> None:
        self.inputs, self.outputs = list(stand_ins), ["logits"]
        self._session, self._stand_ins = session, stand_ins

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `Towers.run`."""
        count = len(next(iter(feeds.values())))
        filled = {name: feeds.get(name, np.repeat(one, count, axis=0)) for name, one in self._stand_ins.items()}
        vectors = np.split(self._session.run(filled)["logits"], len(self.inputs), axis=1)
        return {"logits": np.concatenate([part for name, part in zip(self.inputs, vectors) if name in feeds], 1)}

    def close(self) -> None:
        """Lets go of the model."""
        if hasattr(self._session, "close"):
            self._session.close()
