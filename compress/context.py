"""`Context`: what a stage may know besides its config and its input artifacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """`out` is the only folder that a stage may write to; a killed training stage finds its checkpoint there."""

    out: Path
    seed: int = 0
    threads: int = 2
    say: Callable[[str], None] = print
    base: Path = Path()  # the recipe's folder: relative paths in a recipe start here
