"""`Served`: the models that are asked side by side, opened once and verified first, and the samples that the page offers."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compress.device.contents import GOLDEN, IO_SPEC, BundleFolder, Model
from compress.device.errors import DeviceError
from compress.device.golden import read_golden
from compress.device.manifest import verify_folder
from compress.device.modalities.text import open_tokenizer
from compress.device.predictor import Predictor
from compress.device.sessions import open_session
from compress.errors import BundleError, CompressError, StoreError
from compress.io_spec import IOSpec
from compress.modalities.modality import modality
from compress.reporting.runs import Run, read_run
from compress.store.artifacts import find_fault
from compress.tables import MODALITIES, TASKS
from compress.tasks.task import task

SAMPLES = 12


@dataclass(frozen=True)
class Member:
    """One model that answers."""

    role: str  # student or teacher
    predictor: Predictor
    size_bytes: int


@dataclass(frozen=True)
class Sample:
    """A row that the page offers: how it is shown, and what each role reads."""

    shown: dict[str, str]  # HTML by input, safe to put in
    label: str
    feeds: dict[str, dict[str, np.ndarray]]  # role -> port -> (1, ...)


@dataclass(frozen=True)
class Served:
    """What one server offers."""

    name: str
    members: tuple[Member, ...]  # the student first
    samples: tuple[Sample, ...] = field(default=())

    @property
    def bundle(self) -> BundleFolder:
        """The student's bundle."""
        return self.members[0].predictor.bundle

    def answer(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        """What each member answers to one value for each input. Raises DeviceError for a value that one of them cannot read."""
        return self._answers({member.role: (lambda reads=member.predictor.read: reads(given)) for member in self.members})

    def answer_sample(self, number: int) -> list[dict[str, Any]]:
        """What each member that has a form of this sample answers to it."""
        return self._answers({role: (lambda arrays=arrays: arrays) for role, arrays in self.samples[number].feeds.items()})

    def _answers(self, reads: dict[str, Any]) -> list[dict[str, Any]]:
        """[{role, model, size_bytes, read_ms, model_ms, and the task's answer}]; all inputs are read before a model is asked."""
        feeds, read_ms = {}, {}
        for role, read in reads.items():
            started = time.perf_counter()
            feeds[role] = read()
            read_ms[role] = 1000 * (time.perf_counter() - started)
        found = []
        for member in self.members:
            if member.role in feeds:
                started = time.perf_counter()
                try:
                    answer = member.predictor.answer(feeds[member.role])[0]
                except DeviceError as error:  # it names files of this machine, which are nobody else's business
                    raise CompressError(f"the {member.role} did not run") from error
                model_ms = 1000 * (time.perf_counter() - started)
                facts = {"role": member.role, "size_bytes": member.size_bytes, "read_ms": read_ms[member.role], "model_ms": model_ms}
                found.append({**facts, **answer})
        return found


def open_served(bundle: Path, run: Path | None, *, model: str | None = None, threads: int = 1) -> Served:
    """The bundle, once each of its files was found as listed, and where it is of a run the teacher's file beside it.

    Raises: BundleError, StoreError for files that were changed; CompressError for an input that only a plugin's reader knows.
    """
    try:
        manifest = verify_folder(bundle)
        student = Predictor(bundle, model=model, threads=threads).warm_up()
    except DeviceError as error:
        raise BundleError(str(error)) from error
    foreign = [name for name in student.bundle.asked if name not in MODALITIES]
    if foreign:
        raise CompressError(f"{bundle}: reads {', '.join(foreign)}, which only its plugin knows; `python run.py predict` asks it")
    members = [Member("student", student, manifest["files"][student.model.file]["size"])]
    found = read_run(run) if run else None
    if run and found and any(run.glob("*-export_teacher")):  # stored answers cannot be asked
        members.append(_teacher(run, student.bundle, threads=threads))
    served = Served(manifest.get("name") or bundle.name, tuple(members))
    samples = _run_samples(found, served) if found else _golden_samples(student)
    return Served(served.name, served.members, tuple(samples))


def _teacher(run: Path, student: BundleFolder, *, threads: int) -> Member:
    exported, teacher = (sorted(run.glob(f"*-{stage}"))[0] for stage in ("export_teacher", "teacher"))
    for folder in (exported, teacher):
        fault = find_fault(folder)
        if fault:
            raise StoreError(f"{folder}: {fault}; run the recipe again, or serve the bundle alone")
    file = exported / "teacher.onnx"
    inputs = {port.name: asdict(port) for port in IOSpec.load(teacher / IO_SPEC).inputs}
    model = Model("teacher", str(file), "fp32", 0.0, "logits")
    facts = {**student.facts, **json.loads((teacher / "artifact.json").read_text())["details"].get("facts", {})}
    told = BundleFolder(teacher, student.identity, (model,), "teacher", student.labels, inputs, student.max_batch, student.task, facts)
    size = sum(os.path.getsize(path) for path in (file, exported / "teacher.onnx.data") if path.is_file())
    return Member("teacher", Predictor.around(told, model, open_session(file, threads=threads)), size)


def _run_samples(run: Run, served: Served) -> Iterator[Sample]:
    """Test rows, spread over the split, in the form in which each member reads them."""
    test = run.data.split("test")
    rows = run.answers["rows"]
    for row in rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)]:
        feeds: dict[str, dict[str, np.ndarray]] = {}
        for member in served.members:
            given = test.teacher_inputs if member.role == "teacher" else test.inputs
            told, feeds[member.role] = member.predictor.bundle, {}
            for port in IOSpec.load(told.folder / IO_SPEC).inputs:
                which = np.asarray(test.rows[port.name][row : row + 1])
                stored = given[port.name]
                taken = stored[which] if isinstance(stored, np.ndarray) else stored.take(which)
                feeds[member.role][port.name] = modality(port.name).arrays(taken, port, told.folder).astype(port.dtype, copy=False)
        names = run.data.report["modalities"]
        shown = {m: "(none)" if test.lacks(m)[row] else modality(m).show(test.inputs[m], int(test.rows[m][row])) for m in names}
        yield Sample(shown, run.data.task.show(test.labels[row], run.data.labels), feeds)


def _golden_samples(student: Predictor) -> Iterator[Sample]:
    """Golden samples of a bundle that came without its run: the student alone has a form of them."""
    told, arrays = student.bundle, read_golden(student.bundle.folder / GOLDEN)
    for number in range(min(SAMPLES, len(arrays["labels"]))):
        feeds = {name: arrays[name][number : number + 1] for name in told.inputs}
        yield Sample(
            {name: _shown(told, name, feeds[name]) for name in told.asked},
            _label(told, arrays["labels"][number]),
            {"student": feeds},
        )


def _label(bundle: BundleFolder, label: np.ndarray) -> str:
    """A golden label, a row of (N, ...), as its task shows it; as it is where only a plugin knows the task."""
    if ".py:" in TASKS.get(bundle.task, ".py:"):
        return str(label.tolist())
    return task(bundle.task, facts=bundle.facts).show(label, list(bundle.labels))


def _shown(bundle: BundleFolder, name: str, array: np.ndarray) -> str:
    room = modality(name)
    if not room.worded:
        return room.show(array, 0)
    tokenizer = open_tokenizer(bundle.folder / room.assets[0], length=array.shape[1])
    return html.escape(tokenizer.decode(np.abs(array[0]).tolist()))
