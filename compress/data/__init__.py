"""Rows from a named source, checked and laid out as memory-mapped arrays.

DATASETS is the table of sources: a name in a recipe's `data.source`, and the function that opens it, imported when it is asked for. Each
takes `base` (the recipe's folder) and its own options by keyword, and returns a `compress.data.source.Source`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

DATASETS = {
    "easy_vqa": "compress.data.easy_vqa:easy_vqa",
    "manifest": "compress.data.manifest:manifest",
    "hub": "compress.data.hub:hub",
}


def dataset(name: str) -> Callable[..., Any]:
    """The function that opens the data set of that name in DATASETS."""
    module, function = DATASETS[name].split(":")
    return getattr(importlib.import_module(module), function)
