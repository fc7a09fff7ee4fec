"""`Candidate`: one exported file that the benchmark opens, and what it reads of the test split."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
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


def local_target() -> str:
    """The export target whose latency this machine can measure."""
    return "onnxruntime_arm" if platform.machine().lower() in ("aarch64", "arm64") else "onnxruntime_x86"
