"""Small data sets on disk: 12 training and 6 test images of three colours, each with two questions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from sections import data_section

from compress.data.source import Source
from compress.recipe.sections import Data

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, list[dict]]:
    """The rows of train and test; image paths are relative to tmp_path, where the images (20x10 pixels) lie."""
    (tmp_path / "images").mkdir()
    found: dict[str, list[dict]] = {}
    for split, count in (("train", 12), ("test", 6)):
        found[split] = []
        for index in range(count):
            colour = list(COLOURS)[index % 3]
            image = f"images/{split}{index}.png"
            Image.new("RGB", (20, 10), COLOURS[colour]).save(tmp_path / image)
            found[split].append({"image": image, "text": "what colour?", "label": colour, "kind": "colour"})
            found[split].append({"image": image, "text": "is it red?", "label": "yes" if colour == "red" else "no", "kind": "presence"})
    return found


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[[dict[str, list[dict]]], Source]:
    """A source over such rows, with absolute paths."""

    def make(rows: dict[str, list[dict]]) -> Source:
        def absolute(row: dict) -> dict:
            image = row.get("image")
            return {**row, "image": str(tmp_path / image)} if isinstance(image, str) and image else row

        tables = {split: pa.Table.from_pylist([absolute(row) for row in some]) for split, some in rows.items()}
        return Source(identity="test", read=lambda: tables, licence="none")

    return make


@pytest.fixture
def config() -> Callable[..., Data]:
    """A data section with images of 8 pixels and texts."""
    return lambda **changes: data_section(**{"source": "manifest", "inputs": {"image": {"size": 8}, "text": {"length": 8}}, **changes})


@pytest.fixture
def write_csv() -> Callable[[Path, list[dict]], Path]:
    """Writes rows as a CSV file."""

    def write(path: Path, rows: list[dict]) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def png(colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    """The content of a PNG file of one colour."""
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png
