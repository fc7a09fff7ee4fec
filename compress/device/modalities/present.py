"""Which inputs a sample has, for a port (M,) float32: 1 where one is there. No option fills it; what the others are given decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

ASSETS: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()


def pattern(names: Iterable[str], missing: Collection[str]) -> np.ndarray:
    """(1, M) float32 of the inputs `names`, in the order of the ports."""
    return np.array([[float(name not in missing) for name in names]], np.float32)


def stand_in(port: dict[str, Any]) -> np.ndarray:
    """(1, ...) zeros for an input that is missing: the model reads them and lets them go."""
    return np.zeros((1, *port["shape"]), port["dtype"])
