"""Checkpoints of a training run: everything that the next step depends on, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors and plain data) and torch's random state beside it, then renames: a killed writer leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({**state, "torch_random": torch.get_rng_state()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state of `save_checkpoint`, with torch's random state put back; None where there is no checkpoint."""
    if not path.is_file():
        return None
    state = torch.load(path, weights_only=True, map_location="cpu")
    torch.set_rng_state(state.pop("torch_random"))
    return state


def seed_everything(seed: int) -> None:
    """torch and numpy draw the same numbers from here on."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
