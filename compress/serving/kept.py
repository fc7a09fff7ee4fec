"""`Kept`: samples that were answered wrongly, kept with the right answer as rows for the next training: `rows.jsonl`, and files beside it.

A recipe reads them with `data.options`: {train: [train.csv, kept/rows.jsonl]}. A file's name is the hash of its content, which is encoded anew, so that what else
a file may hold (where and when a picture was taken, by whom) stays out; of a request nothing is used as a name.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.device.contents import BundleFolder
from compress.errors import CompressError, DataError
from compress.modalities.modality import modality
from compress.tables import TASKS
from compress.tasks.labels import known
from compress.tasks.task import Task, task

ROWS, FILES = "rows.jsonl", "files"


class Unfit(CompressError):
    """A sample that is not kept, because its answer is none or it was kept with another one; the message is for who sent it."""


class Full(CompressError):
    """A sample that there is no room for."""


class Kept:
    """The rows in `folder`, which is made where it is not there; `most_bytes`: of all its files together.

    Raises: CompressError for a folder that holds something else, or lies in the bundle, whose manifest lists every file.
    """

    def __init__(self, folder: Path, bundle: BundleFolder, *, most_bytes: int) -> None:
        if folder.resolve().is_relative_to(bundle.folder.resolve()):
            raise CompressError(f"--keep {folder}: lies in the bundle, which would no longer verify; name another folder")
        self.folder, self.names, self.labels, self.most_bytes = folder, bundle.asked, list(bundle.labels), most_bytes
        self.task = _known_task(bundle)
        self.lock = threading.Lock()
        (folder / FILES).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.rows = self._read_rows()
        self.bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    @property
    def choices(self) -> list[str]:
        """The answers that there are; none where they are not a choice of one."""
        return self.labels if self.task.one_of_many else []

    def add(self, given: Mapping[str, Any], label: str) -> bool:
        """Keeps one value for each input (of a file its content) with the right answer; False where this very row is there already.

        Raises: Unfit, Full; DeviceError for a file that cannot be read.
        """
        answer = self._answer(label)
        cells = {name: None if given.get(name) is None else modality(name).as_cell(given[name]) for name in self.names}
        files = {cell.name: cell.content for cell in cells.values() if cell is not None and cell.content is not None}
        row = {name: cell and (f"{FILES}/{cell.name}" if cell.content is not None else cell.name) for name, cell in cells.items()}
        identity = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:32]
        line = (json.dumps({"key": identity, **row, "label": answer}) + "\n").encode()
        with self.lock:
            if identity in self.rows:
                if self.rows[identity] != answer:
                    raise Unfit(f"this sample is kept already, with another answer; its line in {ROWS} has the key {identity}")
                return False
            new = {name: content for name, content in files.items() if not (self.folder / FILES / name).exists()}
            size = len(line) + sum(map(len, new.values()))
            if self.bytes + size > self.most_bytes:
                raise Full(f"there is no room for it: at most {self.most_bytes / 1e6:g} MB are kept")
            for name, content in new.items():
                _write_whole(self.folder / FILES / name, content)
            with (self.folder / ROWS).open("ab") as file:  # after the files that it names
                file.write(line)
            self.rows[identity] = answer
            self.bytes += size
        return True

    def _answer(self, label: str) -> Any:
        """The answer as a cell of the column; raises Unfit for one that the task does not know."""
        import pyarrow as pa

        try:
            cells = self.task.cells(pa.chunked_array([[label.strip()]]), "label")
            labels, blank = self.task.encode(cells, self.labels)
        except DataError as error:
            raise Unfit(str(error)) from error
        if blank.any() or not known(labels).all():
            raise Unfit(f"label: {self.task.fault(cells.to_pylist()[0], self.labels)}")
        return cells.to_pylist()[0]

    def _read_rows(self) -> dict[str, Any]:
        """key -> answer of the rows that are there."""
        found, path = {}, self.folder / ROWS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else [], 1):
            try:
                row = json.loads(line)
                if set(row) != {"key", *self.names, "label"}:
                    raise CompressError(f"--keep {path}:{number}: a row of {', '.join(row)}, but this bundle reads {', '.join(self.names)}")
                found[row["key"]] = row["label"]
            except (ValueError, TypeError) as error:
                raise CompressError(
                    f"--keep {path}:{number}: no row as they are written here ({error}); mend it, or name another"
                ) from error
        return found


def _known_task(bundle: BundleFolder) -> Task:
    if ".py:" in TASKS.get(bundle.task, ".py:"):
        raise CompressError(f"--keep: what an answer to {bundle.task} is only its plugin knows; leave --keep out")
    found = task(bundle.task, facts=bundle.facts)
    if found.dense:  # a text would be taken for the path of a file of this machine
        raise CompressError(f"--keep: the right answer to {bundle.task} is a picture, which the page cannot take; leave --keep out")
    return found


def _write_whole(path: Path, content: bytes) -> None:
    """A file that is there whole or not at all."""
    half = path.with_suffix(".half")
    half.write_bytes(content)
    os.replace(half, path)
