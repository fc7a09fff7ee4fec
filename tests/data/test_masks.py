"""Rows with masks, from the user's table to prepared data: where they lie, which rows are refused with what way out, and what changes the data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sections import data_section

from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import PreparedData, open_data
from compress.errors import DataError

ROWS = 12


def draw(folder: Path, **changes: np.ndarray | None) -> None:
    """rows.csv of pictures of 20 x 16 pixels and masks below masks/, of which `changes` replaces some by number ("_3"); None leaves the cell blank."""
    (folder / "masks").mkdir(exist_ok=True)
    lines = ["file,answer"]
    for number in range(ROWS):
        numbers = changes.get(f"_{number}", np.arange(320).reshape(16, 20) % 3)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 20, 3), np.uint8)).save(folder / f"{number}.png")
        if numbers is not None:
            Image.fromarray(np.asarray(numbers, np.uint8)).save(folder / "masks" / f"{number}.png")
        lines.append(f"{number}.png," + ("" if numbers is None else f"masks/{number}.png"))
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def source(folder: Path, **options: Any) -> Any:
    given = {"train": "rows.csv", "validation": "rows.csv", "test": "rows.csv", "columns": {"image": "file", "mask": "answer"}}
    return manifest(base=folder, **{**given, **options})


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., PreparedData]:
    def prepared(*, options: dict | None = None, **words: Any) -> PreparedData:
        names = {"names": ["a", "b", "c"], "task": "segmentation", "inputs": {"image": {"size": 16}}, "task_options": {"stride": 4}}
        config = data_section(**{"source": "manifest", **names, **words})
        prepare(source(tmp_path, **(options or {})), config, tmp_path / "out", say=lambda _: None)
        return open_data(tmp_path / "out")

    return prepared


def test_masks_lie_beside_their_table_or_in_it(opened: Callable, tmp_path: Path) -> None:
    draw(tmp_path)
    data = opened()
    labels = np.asarray(data.split("train").labels)
    assert labels.shape == (ROWS, 4, 4) and labels.dtype == np.int16 and (labels == labels[0]).all()
    assert labels[0, 0].tolist() == [(2 * 20 + x) % 3 for x in (3, 8, 13, 18)]  # the middles of 5 x 4 pixels, the third row of pixels
    assert (data.outputs, data.task.port(data.labels).grid) == (4 * 4 * 3, 4)
    files = [{"bytes": (tmp_path / f"{n}.png").read_bytes(), "path": None} for n in range(ROWS)]
    masks = [(tmp_path / "masks" / f"{n}.png").read_bytes() for n in range(ROWS)]
    pq.write_table(pa.table({"file": files, "answer": masks}), tmp_path / "rows.parquet")
    held = dict.fromkeys(("train", "validation", "test"), "rows.parquet")
    assert np.array_equal(np.asarray(opened(options=held).split("train").labels), labels)


def test_rows_that_cannot_be_used_are_told_together_or_counted(opened: Callable, tmp_path: Path) -> None:
    draw(tmp_path, _1=np.zeros((20, 16)), _2=np.full((16, 20), 7), _3=np.full((16, 20), 255), _4=None)
    (tmp_path / "masks" / "5.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        opened()
    told = str(caught.value)
    for line in (
        "a mask of another size than its picture: 3 rows",
        "train row 2: 16 x 20 pixels, the picture 20 x 16; resize the mask by repeating pixels (nearest)",
        "a mask that cannot be used: 9 rows",
        "masks/2.png: pixels of 7, and there are 3 classes from 0 on, and 255 for none; name them in data.names",
        "masks/3.png: every place is 255, which is ignored",
        "no label: 3 rows",
    ):
        assert line in told, told
    data = opened(on_bad_row="skip")
    assert len(data.split("train")) == ROWS - 5 and data.report["skipped"]["rows"] == 15


def test_a_table_without_masks_is_told(opened: Callable, tmp_path: Path) -> None:
    draw(tmp_path)
    with pytest.raises(DataError, match="train has no column 'mask'; there are image. data.options.columns.mask names another column"):
        opened(options={"columns": {"image": "file"}})


def test_a_class_that_train_has_not_is_told(opened: Callable, tmp_path: Path) -> None:
    draw(tmp_path)
    rows = (tmp_path / "rows.csv").read_text().splitlines()
    for split, part in (("train", rows[:7]), ("test", [rows[0], *rows[7:]])):
        (tmp_path / f"{split}.csv").write_text("\n".join(part) + "\n")
    for number in range(6):
        Image.fromarray(np.uint8(np.arange(320).reshape(16, 20) % 2)).save(tmp_path / "masks" / f"{number}.png")
    with pytest.raises(DataError, match="data: test has classes that no mask of train has: c; add such pictures to train, or write 255"):
        opened(options={"train": "train.csv", "validation": "train.csv", "test": "test.csv"})


def test_another_mask_makes_other_data(tmp_path: Path) -> None:
    draw(tmp_path)
    first = source(tmp_path).identity
    assert source(tmp_path).identity == first
    os.utime(tmp_path / "masks" / "3.png", ns=(0, 1))
    assert source(tmp_path).identity != first
