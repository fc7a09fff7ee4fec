"""Which inputs a row has, stored and opened as a modality's inputs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from compress.data.rows import Distinct
from compress.io_spec import PRESENT
from compress.modalities.modality import modality


def test_patterns_are_stored_as_numbers_and_thinned(tmp_path: Path) -> None:
    room = modality(PRESENT)
    assert room.store(Distinct(pa.array(["110", "011", "001"])), {PRESENT: None}, folder=tmp_path, threads=1) == {}
    stored = room.open(tmp_path, PRESENT)
    assert stored.dtype == np.float32 and stored.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    room.keep(PRESENT, np.array([0, 2]), folder=tmp_path, out=tmp_path)
    assert room.open(tmp_path, PRESENT).tolist() == [[1, 1, 0], [0, 0, 1]]


def test_its_reader_ships_with_the_runner() -> None:
    assert modality(PRESENT).reader.is_file() and modality(PRESENT).assets == ()
