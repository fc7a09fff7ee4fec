"""Checkpoints of a training run: everything that the next step depends on, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.placement import CPU, random_state, set_random_state

PROCESSOR = torch.device(CPU)


def save_checkpoint(path: Path, state: dict[str, Any], device: torch.device = PROCESSOR) -> None:
    """Writes `state` (tensors and plain data) and the random states of torch and `device`, then renames: a killed writer leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({**state, "torch_random": torch.get_rng_state(), "device_random": random_state(device)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path, device: torch.device = PROCESSOR) -> dict[str, Any] | None:
    """The state of `save_checkpoint`, with the random states put back; None where there is no checkpoint."""
    if not path.is_file():
        return None
    state = torch.load(path, weights_only=True, map_location="cpu")
    torch.set_rng_state(state.pop("torch_random"))
    set_random_state(device, state.pop("device_random", None))
    return state


def seed_everything(seed: int) -> None:
    """torch and numpy draw the same numbers from here on."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
