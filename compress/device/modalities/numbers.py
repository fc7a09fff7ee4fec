"""A row of numbers for a port (D,) float32."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError

OPTION, HELP = "--numbers", "numbers with spaces or commas between them"
ASSETS: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()
EXAMPLE = "[0.5] * {size}"


def read(value: Any, port: dict[str, Any], folder: Path) -> np.ndarray:
    """(1, D) float32; raises DeviceError for another count, or for what is no finite number."""
    return parse(value, port["shape"][0])[None]


def parse(value: Any, size: int) -> np.ndarray:
    """(D,) float32 of a string of numbers, or of anything that numpy takes as numbers."""
    given = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(given, str):
        given = re.split(r"[\s,;]+", given.strip().strip("[]()").strip())
    try:
        with np.errstate(over="ignore"):  # it is infinite then, and refused below
            numbers = np.asarray(given, dtype=np.float32).reshape(-1)
    except (ValueError, TypeError) as error:
        raise DeviceError(f"not all of {str(value)[:80]!r} are numbers ({error})") from error
    if len(numbers) != size:
        raise DeviceError(f"{len(numbers)} numbers, but the model reads {size}")
    if not np.isfinite(numbers).all():
        raise DeviceError(f"number {int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1} is not finite")
    return numbers
