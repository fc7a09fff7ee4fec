"""How the runner reads each kind of input: one file a modality, named as the port that it fills; a plugin's file is copied in beside them.

A reader has OPTION (of `predict`), HELP, ASSETS (files of the bundle that it reads), PACKAGES (what it imports beside numpy) and
`read(value, port, folder)`: the array (1, ...) that the port takes; `value` is what stands behind the option, or what a program hands over.
One that opens a file for that also has `opened(port, folder)`: a function of the value alone, for callers who ask again and again. EXAMPLE is
a value as Python writes it, for the README of a bundle. One whose inputs may be longer than a model reads has `windows(value, port, hop)`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DeviceError

MODALITIES = ("image", "audio", "text", "numbers")


def reader(name: str) -> ModuleType:
    """The reader of the port `name`; raises DeviceError where there is none."""
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise DeviceError(f"{name!r} is no name of an input; copy the bundle again")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise DeviceError(f"no reader for the input {name!r}: device/modalities/{name}.py is missing; copy the bundle again") from None


def open_reader(name: str, port: dict[str, Any], folder: Path) -> Callable[[Any], np.ndarray]:
    """What makes an array (1, ...) of one value of the port `name`; files that it reads by are opened now, and once."""
    module = reader(name)
    if hasattr(module, "opened"):
        return module.opened(port, folder)  # type: ignore[no-any-return]
    return lambda value: module.read(value, port, folder)  # type: ignore[no-any-return]
