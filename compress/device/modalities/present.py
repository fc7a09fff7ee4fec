"""Which inputs a row has, for a port (M,) float32: 1 where one is there. What the others are given decides, and no option of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .numbers import parse

ASSETS: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()


def read(value: Any, port: dict[str, Any], folder: Path) -> np.ndarray:
    """(1, M) float32 of what a program hands over; raises DeviceError for another count."""
    return parse(value, port["shape"][0])[None]


def pattern(names: Iterable[str], missing: Collection[str]) -> np.ndarray:
    """(1, M) float32 of the inputs `names`, in the order of the ports."""
    return np.array([[float(name not in missing) for name in names]], np.float32)


def stand_in(port: dict[str, Any]) -> np.ndarray:
    """(1, ...) zeros for an input that is missing: the model reads them and lets them go."""
    return np.zeros((1, *port["shape"]), port["dtype"])
