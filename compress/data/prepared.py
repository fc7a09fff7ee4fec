"""`PreparedData`: a folder of rows that training, export and benchmark read, memory-mapped.

labels.json  kinds.json  report.json  paraphrases.json (where the recipe names them)
train/ validation/ test/   image.npy  teacher_image.npy  text.arrow  rows_image.npy  rows_text.npy  labels.npy  kinds.npy
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.errors import DataError


@dataclass(frozen=True)
class Split:
    """R rows over their distinct inputs. Pixels are (N, H, W, 3) uint8, texts an Arrow array of M strings."""

    name: str
    inputs: dict[str, Any]  # distinct inputs by modality: an array or, for text, pa.Array
    rows: dict[str, np.ndarray]  # by modality: (R,) int32, the input of each row
    labels: np.ndarray  # (R,) int32 index in PreparedData.labels, -1 is unlabelled
    kinds: np.ndarray  # (R,) int16 index in PreparedData.kinds, -1 is none
    teacher_image: np.ndarray | None = None  # (N, H, W, 3) uint8 where the teacher sees another size than the student

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def teacher_inputs(self) -> dict[str, Any]:
        """The same inputs as the teacher sees them."""
        return self.inputs if self.teacher_image is None else {**self.inputs, "image": self.teacher_image}


@dataclass(frozen=True)
class PreparedData:
    """The folder that `prepare` wrote; `split` maps one part of it."""

    path: Path
    labels: list[str]
    kinds: list[str]
    report: dict
    paraphrases: dict[str, str] = field(default_factory=dict)  # a text of the data -> the same in other words

    def split(self, name: str) -> Split:
        """The split "train", "validation" or "test"; nothing is read until it is used."""
        folder = self.path / name
        if not folder.is_dir():
            raise DataError(f"{self.path}: no split {name!r}; there are train, validation and test")
        modalities = self.report["modalities"]
        teacher = folder / "teacher_image.npy"
        return Split(
            name=name,
            inputs={m: read_texts(folder / "text.arrow") if m == "text" else _array(folder / f"{m}.npy") for m in modalities},
            rows={m: _array(folder / f"rows_{m}.npy") for m in modalities},
            labels=_array(folder / "labels.npy"),
            kinds=_array(folder / "kinds.npy"),
            teacher_image=_array(teacher) if teacher.exists() else None,
        )


def open_data(path: Path) -> PreparedData:
    """What `prepare` wrote to the folder `path`. Raises DataError where it is something else."""
    try:
        labels, kinds, report = (json.loads((path / f"{name}.json").read_text()) for name in ("labels", "kinds", "report"))
    except FileNotFoundError as error:
        raise DataError(f"{path} holds no prepared data: no {Path(error.filename).name}") from error
    paraphrases = path / "paraphrases.json"
    return PreparedData(path, labels, kinds, report, json.loads(paraphrases.read_text()) if paraphrases.is_file() else {})


def write_texts(path: Path, texts: pa.Array) -> None:
    """Writes (M,) strings as one batch of an Arrow file."""
    batch = pa.record_batch([texts], names=["text"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_texts(path: Path) -> pa.Array:
    """What `write_texts` wrote, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column(0)


def _array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)
