"""A teacher that answers while the student is trained, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from compress.data.prepared import Split
from compress.io_spec import IOSpec
from compress.modalities.further import Further
from compress.models.saved import load_model
from compress.models.taps import Tap, attach_taps
from compress.placement import CPU, ask, device_of, finish
from compress.training.arithmetic import quick_call
from compress.training.batches import Batches, LiveTeacher, Rows
from compress.training.rows import add_further, open_rows, read_more

TRIED = 3  # batches that a cost is measured on, after one to warm up
INPUTS = 16  # grouping inputs of such a batch


def open_live(
    folder: Path, split: Split, further: Further | None, taps: Mapping[str, Tap] | None = None, *, device: str = CPU
) -> LiveTeacher:
    """The teacher in a model folder, on that device, over the split's inputs and the further rows as it reads them, with what its tapped layers give."""
    io = IOSpec.load(folder / "io_spec.json")
    rows = open_rows(split, io, folder, teacher=True)
    if further:
        rows = add_further(rows, further, read_more(further, io, folder))
    model = load_model(folder).to(device)
    attach_taps(model, taps or {}, side="teacher")
    batches = Batches(rows, 4, shuffle=False)
    sample = batches.collect(np.arange(min(4, len(batches.groups))))
    call, _ = quick_call(model, sample.inputs, sample.rows)
    return LiveTeacher(call, rows.inputs)


def teacher_seconds(rows: Rows) -> float:
    """Seconds that the live teacher of `rows` adds to a batch."""
    return max(0.0, _collecting(rows) - _collecting(replace(rows, live=None)))


def student_seconds(model: nn.Module, rows: Rows) -> float:
    """Seconds of the student's forward and backward pass on a batch; the student stays as it is."""
    batch = Batches(replace(rows, live=None), INPUTS).collect(_places(rows))
    was, started = model.training, 0.0
    model.eval()  # so that batch statistics stay, too
    for turn in range(TRIED + 1):
        if turn == 1:
            started = time.perf_counter()
        outputs: Any = ask(model, batch.inputs, batch.rows)
        outputs.logits.sum().backward()
        finish(device_of(model))
    seconds = (time.perf_counter() - started) / TRIED
    model.zero_grad(set_to_none=True)
    model.train(was)
    return seconds


def _collecting(rows: Rows) -> float:
    batches, started = Batches(rows, INPUTS), 0.0
    for turn in range(TRIED + 1):
        if turn == 1:
            started = time.perf_counter()
        teacher = batches.collect(_places(rows)).teacher
        if teacher is not None:
            finish(teacher.logits.device)
    return (time.perf_counter() - started) / TRIED


def _places(rows: Rows) -> np.ndarray:
    return np.arange(min(INPUTS, len(np.unique(rows.rows[rows.group]))))
