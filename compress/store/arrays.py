"""Arrays on disk that are written piece by piece."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


def allocate(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap:
    """A new .npy file of zeros, mapped for writing. Its blocks are claimed now: on a full disk a mapped write would kill the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def read_progress(path: Path) -> int:
    """How many pieces a killed writer had finished: what `note_progress` wrote last, else 0."""
    return int(path.read_text()) if path.is_file() else 0


def note_progress(path: Path, count: int) -> None:
    """Writes a number whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".partial").write_text(str(count))
    os.replace(path.with_suffix(".partial"), path)


def keep_rows(path: Path, kept: np.ndarray, *, out: Path, block: int = 64) -> None:
    """Writes the rows of a .npy file with the indices `kept` to the file `out`, which may be the same, a block at a time."""
    whole = np.load(path, mmap_mode="r")
    short = allocate(out.with_suffix(".part"), (len(kept), *whole.shape[1:]), whole.dtype)
    for start in range(0, len(kept), block):
        short[start : start + block] = whole[kept[start : start + block]]
    short.flush()
    out.with_suffix(".part").replace(out)
