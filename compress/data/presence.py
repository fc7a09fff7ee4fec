"""Rows that lack an input, where the recipe takes them: each stands for a pattern of what is there, kept as one more input of the row.

In place of the missing input the row points at some other row's, drawn by the row's number, so that nothing is stored, encoded or grouped for
what is not there; the graph puts a learned vector in its place (compress/models/classifier.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compress.errors import DataError
from compress.io_spec import PRESENT
from compress.modalities.draws import uniforms

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.data.rows import Rows


def patterns(blank: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    """(R,) int32 codes into the distinct patterns, and these: strings of 1 (there) and 0, one a modality. blank: (R, M) bool."""
    import pyarrow as pa

    distinct, codes = np.unique(~blank, axis=0, return_inverse=True)
    return codes.reshape(-1).astype(np.int32), pa.array(["".join("01"[there] for there in row) for row in distinct.astype(int)])


def stand_in(codes: np.ndarray, number: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(R,) int32 `codes` with one of `usable` (N,) codes where they are -1, drawn by the row's `number` (R,)."""
    drawn = usable[(uniforms(0, 0, number, 1)[:, 0] * len(usable)).astype(np.int64)] if len(usable) else codes
    return np.where(codes < 0, drawn, codes).astype(np.int32)


def lacking(rows: Rows, modality: str) -> np.ndarray:
    """(R,) bool: the rows without an input of that modality."""
    if PRESENT not in rows.codes:
        return np.zeros(len(rows), bool)
    place = list(rows.codes).index(modality)
    return np.array([pattern[place] == "0" for pattern in rows.inputs[PRESENT].keys.to_pylist()], bool)[rows.codes[PRESENT]]


def owned(rows: Rows) -> np.ndarray:
    """(R,) the input of the owning modality of each row; -1 where it is another row's."""
    return np.where(lacking(rows, rows.owner), -1, rows.codes[rows.owner])


def point_elsewhere(rows: Rows, modality: str, failed: list[int]) -> Rows:
    """The rows, those that lack the modality no longer pointing at an input that could not be read."""
    if not failed:
        return rows
    codes = rows.codes[modality]
    moved = np.where(lacking(rows, modality) & np.isin(codes, failed), -1, codes)
    if not (moved < 0).any():
        return rows
    usable = np.setdiff1d(np.arange(len(rows.inputs[modality])), failed)
    if not len(usable):
        raise DataError(f"data: no {modality} of {rows.split} can be read, so nothing can be learned from any; take it off data.inputs")
    return replace(rows, codes={**rows.codes, modality: stand_in(moved, rows.number, usable)})
