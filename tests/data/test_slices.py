"""Columns by the values of which accuracy is told: read, kept with their rows, and refused where they say too much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import open_data
from compress.errors import DataError


@pytest.fixture
def source(rows: dict, write_csv: Callable, tmp_path: Path) -> Callable:
    """A source whose rows have a site, by image, and a device, which every third row lacks."""

    def make(slices: list[str], **changes: str):
        for split, some in rows.items():
            told = [
                {**row, "site": "ab"[i // 2 % 2], "device": ["9", "10", ""][i % 3], "serial": str(i), **changes}
                for i, row in enumerate(some)
            ]
            write_csv(tmp_path / f"{split}.csv", told)
        return manifest(base=tmp_path, train="train.csv", test="test.csv", slices=slices)

    return make


def test_values_stay_with_their_rows(source: Callable, config: Callable, tmp_path: Path) -> None:
    prepare(source(["site", "device"]), config(), tmp_path / "out", seed=0, threads=1, say=lambda _: None)
    data = open_data(tmp_path / "out")
    assert data.slices == {"site": ["a", "b"], "device": ["10", "9"]}
    test = data.split("test")  # 6 images of two rows each
    assert test.slices["site"].tolist() == [0, 0, 1, 1] * 3 and test.slices["device"].tolist() == [1, 0, -1] * 4
    for name in ("train", "validation"):  # cut by image: both rows of one are of one site
        split = data.split(name)
        owners = np.asarray(split.rows["image"])
        assert all(len(set(split.slices["site"][owners == image])) == 1 for image in set(owners))


def test_rows_that_are_left_out_take_their_values_along(source: Callable, config: Callable, rows: dict, tmp_path: Path) -> None:
    rows["test"][0]["label"] = ""
    prepare(source(["device"]), config(on_bad_row="skip"), tmp_path / "out", seed=0, threads=1, say=lambda _: None)
    assert open_data(tmp_path / "out").split("test").slices["device"].tolist() == ([1, 0, -1] * 4)[1:]


def test_data_without_slices_has_none(source: Callable, config: Callable, tmp_path: Path) -> None:
    prepare(source([]), config(), tmp_path / "out", seed=0, threads=1, say=lambda _: None)
    data = open_data(tmp_path / "out")
    assert data.slices == {} == data.split("test").slices


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (["sight"], r"train.csv\): no column 'sight' \(did you mean 'site'\?\)"),
        (["site", "site"], "data.options.slices: 'site' is there twice"),
    ],
)
def test_slices_that_cannot_be_told(slices: list[str], message: str, source: Callable) -> None:
    with pytest.raises(DataError, match=message):
        source(slices).read()


def test_column_of_too_many_values_is_refused(source: Callable, config: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.data.rows.MOST_VALUES", 20)
    with pytest.raises(DataError, match="data.options.slices: column 'serial' has 24 values, at most 20"):
        prepare(source(["serial"]), config(), tmp_path / "out", seed=0, threads=1, say=lambda _: None)
