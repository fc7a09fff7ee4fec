"""What every runtime says in the same words: an input without a value, and the first line of the vendor's own message."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import DeviceError


def require_feeds(path: Path, names: list[str], feeds: dict[str, np.ndarray]) -> None:
    """Raises DeviceError for inputs that have no value, where a runtime would not say so in words of its own."""
    missing = [name for name in names if name not in feeds]
    if missing:
        raise DeviceError(f"{path}: the model did not run: no value for {', '.join(missing)}")


def first_line(error: Exception) -> str:
    """What a runtime says first, which is the fault."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
