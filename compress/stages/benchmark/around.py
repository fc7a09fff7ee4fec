"""What a device does around the model, in the shipped runner's own code: reading what it is given, and making an answer of the outputs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.modalities import open_reader
from compress.device.timing import Effort, summarise, time_calls
from compress.io_spec import PRESENT, Port
from compress.modalities.modality import modality
from compress.stages.benchmark.candidate import Candidate, gather_feeds, open_candidate

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData

VALUES = 16  # different inputs and outputs that the timed calls go through
LIMIT_S = 0.5  # of each function


def time_around(
    model: Candidate, data: PreparedData, rows: np.ndarray, *, ports: list[dict[str, Any]], folder: Path, effort: Effort, seed: int
) -> dict[str, Any]:
    """{inputs: {modality: {form: times}}, answer: times} of one row, all in turns; times as `summarise` has them, for one thread.

    A form is what a user would hand over, such as a JPEG of a camera's size, made of test rows. ports: of the student, as io_spec.json has them;
    folder: with the files that inputs are read by. What a plugin reads is not timed."""
    test = data.split("test")
    functions: dict[tuple[str, str], list[Callable[[], object]]] = {}
    for port in ports:
        room = modality(port["name"])
        if room.name == PRESENT or room.device:  # a plugin's reader is no part of the runner here
            continue
        read, own = open_reader(room.name, port, folder), Port(**{**port, "shape": tuple(port["shape"])})
        for row in rows[~test.lacks(room.name)[rows]][:VALUES]:
            for form, value in room.as_given(test.inputs[room.name], int(test.rows[room.name][row]), own).items():
                functions.setdefault((room.name, form), []).append(_reading(read, value))
    session = open_candidate(model, 1)
    logits = session.run(gather_feeds(model, test, rows[:VALUES], names=session.inputs))["logits"]
    task = data.task.with_facts(model.facts)
    functions["answer", ""] = [_answering(task.runner, logits[k : k + 1], data.labels, task.facts) for k in range(len(logits))]
    timed = time_calls({str(key): _in_turn(calls) for key, calls in functions.items()}, effort, seed=seed)
    times = {key: summarise(timed.ns[str(key)]) for key in functions}
    inputs: dict[str, dict[str, Any]] = {}
    for (name, form), entry in times.items():
        if form:
            inputs.setdefault(name, {})[form] = entry
    return {"inputs": inputs, "answer": times["answer", ""]}


def _reading(read: Callable[[Any], np.ndarray], value: Any) -> Callable[[], object]:
    return lambda: read(value)


def _answering(runner: Any, logits: np.ndarray, labels: list[str], facts: dict[str, Any]) -> Callable[[], object]:
    return lambda: runner.answer({"logits": logits}, labels, facts=facts)


def _in_turn(calls: list[Callable[[], object]]) -> Callable[[], None]:
    turn = cycle(calls)
    return lambda: (next(turn)(), None)[1]
