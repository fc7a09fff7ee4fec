"""`Candidate`: one exported file that the benchmark opens, and what it reads of the test split."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.device.sessions import Session, open_session
from compress.errors import CompressError

if TYPE_CHECKING:
    from compress.data.prepared import Split

Role = Literal["teacher", "member", "student", "variant"]  # member: one of several teachers; variant: a student's file in another runtime
Precision = Literal["fp32", "fp16", "int8_dynamic", "int8_ptq", "int8_qat"]


@dataclass(frozen=True)
class Candidate:
    """One exported file: who it is and what it reads.

    Shapes: inputs[m] (N_m, ...), the distinct inputs of the test split as this model's port takes them."""

    path: Path
    role: Role
    precision: Precision
    parameters: int
    inputs: dict[str, np.ndarray]
    target: str | None = None  # runtime the file was written for; None: any. Latency is measured only where it is this machine's
    runtime: str = "onnxruntime_cpu"  # name in SESSIONS
    facts: dict[str, Any] = field(default_factory=dict)  # what the task knows of this model, such as thresholds
    of: str | None = None  # of a variant: the student's file that it must answer as


def timed_files(models: dict[str, Candidate]) -> list[str]:
    """The fp32 student and the best int8 one that this machine can time."""
    here = {m.precision: name for name, m in models.items() if m.role == "student" and m.target in (None, local_target())}
    return [here["fp32"], *[here[precision] for precision in ("int8_qat", "int8_ptq") if precision in here][:1]]


def load_candidate(entry: dict[str, Any], folder: Path) -> Candidate:
    """The candidate of one entry of job.json, its file and its inputs, which are mapped, where they lie (relative to `folder`)."""
    inputs = {m: np.load(folder / file, mmap_mode="r", allow_pickle=False) for m, file in entry["inputs"].items()}
    return Candidate(**{**entry, "path": folder / entry["path"], "inputs": inputs})


def open_candidate(model: Candidate, threads: int) -> Session:
    """A session on the candidate's file, in its runtime."""
    return open_session(model.path, runtime=model.runtime, threads=threads)


def gather_feeds(model: Candidate, test: Split, rows: np.ndarray, *, names: list[str]) -> dict[str, np.ndarray]:
    """The model's inputs `names` for rows of the test split.

    Shapes: rows (B,) int; each input (B, ...). Raises CompressError for an input the data does not have."""
    for name in names:
        if name not in model.inputs:
            raise CompressError(f"{model.path}: input {name!r} has no stored values; the data has {', '.join(test.rows)}")
    return {name: np.ascontiguousarray(model.inputs[name][np.asarray(test.rows[name])[rows]]) for name in names}


def cycling_call(session: Session, model: Candidate, test: Split, *, picks: np.ndarray) -> Callable[[], None]:
    """A function that answers the next batch of `picks` (P, B), rows of the test split, whose inputs are gathered before the clock starts."""
    feeds = cycle([gather_feeds(model, test, rows, names=session.inputs) for rows in picks])

    def call() -> None:
        session.run(next(feeds))

    return call


def local_target() -> str:
    """The export target whose latency this machine can measure."""
    return "onnxruntime_arm" if platform.machine().lower() in ("aarch64", "arm64") else "onnxruntime_x86"
