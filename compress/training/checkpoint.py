"""Checkpoints of a training run: everything that the next step depends on, written whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.placement import CPU, random_state, set_random_state
from compress.ranks.dealing import bytes_of_first

PROCESSOR = torch.device(CPU)


def save_checkpoint(path: Path, state: dict[str, Any], device: torch.device = PROCESSOR) -> None:
    """Writes `state` (tensors and plain data) and the random states of torch and `device`, then renames: a killed writer leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(with_random(state, device), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path, device: torch.device = PROCESSOR) -> dict[str, Any] | None:
    """The state of `save_checkpoint`, with the random states put back; None where there is no checkpoint."""
    if not path.is_file():
        return None
    return _take_random(torch.load(path, weights_only=True, map_location="cpu"), device)


def agreed(state: dict[str, Any], device: torch.device = PROCESSOR) -> dict[str, Any]:
    """The state of the first of the processes that work together, in all of them, and its random states."""

    def first() -> bytes:
        file = io.BytesIO()
        torch.save(with_random(state, device), file)
        return file.getvalue()

    return _take_random(torch.load(io.BytesIO(bytes_of_first(first)), weights_only=True, map_location="cpu"), device)


def with_random(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The state, and the random states of torch and `device` beside it."""
    return {**state, "torch_random": torch.get_rng_state(), "device_random": random_state(device)}


def _take_random(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    torch.set_rng_state(state.pop("torch_random"))
    set_random_state(device, state.pop("device_random", None))
    return state


def seed_everything(seed: int) -> None:
    """torch and numpy draw the same numbers from here on."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
