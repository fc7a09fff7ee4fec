"""Opening what was prepared, and what was not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from compress.data.prepared import PreparedData, open_data
from compress.errors import DataError
from compress.modalities.tokens import read_texts, write_texts


def test_texts_come_back_mapped(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    write_texts(tmp_path / "text.arrow", pa.array(["naïve", "", "語"] * 10_000))
    texts = read_texts(tmp_path / "text.arrow")
    assert texts[:3].to_pylist() == ["naïve", "", "語"] and len(texts) == 30_000
    assert pa.total_allocated_bytes() - before < 1_000


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labels.json"):
        open_data(tmp_path)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'dev'; there are train"):
        PreparedData(tmp_path, [], [], {}).split("dev")
