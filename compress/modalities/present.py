"""Which inputs a row has: no modality of a recipe, but stored, batched and exported as one, where rows may lack inputs (data.allow_missing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.modalities.modality import Failures, Inputs, Modality


class Present(Modality):
    """A cell is a string of 1 (there) and 0, one a modality; a model reads float32 (M,)."""

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """`file`.npy: (N, M) float32, 1 where the input is there."""
        rows = [[float(there) for there in str(inputs.value(index))] for index in range(len(inputs))]
        for file in files:
            np.save(folder / f"{file}.npy", np.array(rows, np.float32))
        return {}

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """Those patterns alone."""
        np.save(out / f"{file}.npy", np.load(folder / f"{file}.npy")[kept])
