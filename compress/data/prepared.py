"""`PreparedData`: a folder of rows that training, export and benchmark read, memory-mapped.

labels.json  kinds.json  slices.json  report.json  paraphrases.json (where the recipe names them)
train/ validation/ test/   labels.npy  kinds.npy  groups.npy  slice_<place>.npy  near_train.npy  ids.arrow, and for each modality: rows_<modality>.npy, what its room stored under its name, and under
teacher_<modality> where the teacher reads it in another form
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.io_spec import PRESENT
from compress.modalities.modality import modality
from compress.tasks.task import Task, task


@dataclass(frozen=True)
class Split:
    """R rows over their distinct inputs, each as its modality stores it: pixels (N, H, W, 3) uint8, texts an Arrow array of N strings."""

    name: str
    inputs: dict[str, Any]  # distinct inputs by modality
    rows: dict[str, np.ndarray]  # by modality: (R,) int32, the input of each row
    labels: np.ndarray  # (R, ...) as the task has them (compress/tasks/labels.py); of one of K: int32 index in PreparedData.labels
    kinds: np.ndarray  # (R,) int16 index in PreparedData.kinds, -1 is none
    groups: np.ndarray  # (R,) int32, the rows that belong together, numbered through all splits; -1 is none
    near_train: np.ndarray  # (R,) bool: the input that owns the row is a near duplicate of one in train
    teacher_inputs: dict[str, Any]  # the same inputs as the teacher reads them
    slices: dict[str, np.ndarray] = field(default_factory=dict)  # column: (R,) int16 index in PreparedData.slices of that name, -1 is none

    def __len__(self) -> int:
        return len(self.labels)

    def lacks(self, modality: str) -> np.ndarray:
        """(R,) bool: the rows without an input of that modality."""
        if PRESENT not in self.rows:
            return np.zeros(len(self), bool)
        return np.asarray(self.inputs[PRESENT])[self.rows[PRESENT], list(self.rows).index(modality)] == 0

    @property
    def clusters(self) -> np.ndarray:
        """(R,) int64, equal for rows that are one draw of luck: those of one group or, without one, of one input of the first modality."""
        owners, groups = np.asarray(next(iter(self.rows.values())), np.int64), np.asarray(self.groups)
        return np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + owners)


@dataclass(frozen=True)
class PreparedData:
    """The folder that `prepare` wrote; `split` maps one part of it."""

    path: Path
    labels: list[str]
    kinds: list[str]
    report: dict
    paraphrases: dict[str, str] = field(default_factory=dict)  # a text of the data -> the same in other words
    slices: dict[str, list[str]] = field(default_factory=dict)  # a column that accuracy is told by -> its values

    @property
    def ports(self) -> list[str]:
        """What a model reads of a row: the modalities and, where rows may lack some, which it has."""
        return [*self.report["modalities"], *([PRESENT] if self.report.get("allow_missing") else [])]

    @property
    def paraphrased(self) -> str:
        """The modality that the paraphrases are of: the one whose inputs are texts."""
        return next(m for m in self.report["modalities"] if modality(m).worded)

    @property
    def task(self) -> Task:
        """What is asked of the rows."""
        return task(self.report["task"], options=self.report.get("task_options"), facts=self.report.get("facts"))

    @property
    def outputs(self) -> int:
        """How many logits a model of this task gives."""
        return self.task.port(self.labels).shape[0]

    def ids(self, split: str) -> list[str]:
        """What each row of a split is known by elsewhere: the data's column id, or "train:17", the 17th row of the source's train."""
        from compress.modalities.tokens import read_texts  # the benchmark opens data and needs none of this

        return list(read_texts(self.path / split / "ids.arrow").to_pylist())

    def split(self, name: str) -> Split:
        """The split "train", "validation" or "test"; nothing is read until it is used."""
        folder = self.path / name
        if not folder.is_dir():
            raise DataError(f"{self.path}: no split {name!r}; there are train, validation and test")
        modalities, apart = self.ports, self.report["teacher_apart"]
        inputs = {m: modality(m).open(folder, m) for m in modalities}
        return Split(
            name=name,
            inputs=inputs,
            rows={m: _array(folder / f"rows_{m}.npy") for m in modalities},
            labels=_array(folder / "labels.npy"),
            kinds=_array(folder / "kinds.npy"),
            groups=_array(folder / "groups.npy"),
            near_train=_array(folder / "near_train.npy"),
            teacher_inputs={m: modality(m).open(folder, f"teacher_{m}") if m in apart else inputs[m] for m in modalities},
            slices={name: _array(folder / f"slice_{place}.npy") for place, name in enumerate(self.slices)},
        )


def open_data(path: Path) -> PreparedData:
    """What `prepare` wrote to the folder `path`. Raises DataError where it is something else."""
    try:
        names = ("labels", "kinds", "slices", "report")
        labels, kinds, slices, report = (json.loads((path / f"{name}.json").read_text()) for name in names)
    except FileNotFoundError as error:
        raise DataError(f"{path} holds no prepared data: no {Path(error.filename).name}") from error
    paraphrases = path / "paraphrases.json"
    return PreparedData(path, labels, kinds, report, json.loads(paraphrases.read_text()) if paraphrases.is_file() else {}, slices)


def _array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)
