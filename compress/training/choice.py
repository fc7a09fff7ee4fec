"""Which weights of a training stay: the latest that are not shown to be worse on validation than the best.

The best of many validations on few rows is luck: of 21 on 57 photographs one had 82.5 % where all others had 37 to 74, and its weights 55.4 % of
1,322 test rows. So what is the best is told by the mean of neighbouring validations, and worse is what is behind it by more than two standard
errors of the difference, row by row. One (the rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3) is too few where
the best is chosen of so many, and enough against weights that were good before the first step. Of the others the latest stay, because their
rate was lower.
"""

from __future__ import annotations

import numpy as np
import torch

from compress.measures.metrics import standard_error

NEIGHBOURS = 3  # validations whose mean says how good the weights of that time were
ERRORS = 2.0  # standard errors behind the best from which on weights are worse
AGAINST_KNOWN = 1.0  # the same behind those of before the first step
ROUNDING = 1e-9


class Choice:
    """Told of each validation in turn, it says which weights stay. Gains are (n,): how good the answer to each validation row is."""

    def __init__(self, known: np.ndarray | None = None) -> None:
        """known: gains of weights that are good before the first step."""
        self.recent: list[np.ndarray] = []
        self.best = self.known = None if known is None else np.asarray(known, np.float64)

    def take(self, gains: np.ndarray) -> tuple[bool, bool]:
        """Whether these weights stay in place of those before, and whether the best has become better."""
        gains = np.asarray(gains, np.float64)
        self.recent = [*self.recent, gains][-NEIGHBOURS:]
        level = np.mean(self.recent, 0)
        best = level if self.best is None or level.mean() > self.best.mean() + ROUNDING else self.best
        rose, self.best = best is level, best
        spoilt = self.known is not None and _worse(gains, self.known, AGAINST_KNOWN)
        return not (spoilt or _worse(gains, best, ERRORS)), rose

    def state(self) -> dict:
        """What a checkpoint holds of it."""
        return {
            "recent": [torch.from_numpy(gains) for gains in self.recent],
            "best": None if self.best is None else torch.from_numpy(self.best),
        }

    def restore(self, state: dict) -> None:
        """Goes on from `state`."""
        self.recent = [gains.numpy() for gains in state["recent"]]
        self.best = None if state["best"] is None else state["best"].numpy()


def _worse(gains: np.ndarray, than: np.ndarray, errors: float) -> bool:
    behind = than - gains
    return bool(behind.mean() > errors * standard_error(behind) + ROUNDING)
