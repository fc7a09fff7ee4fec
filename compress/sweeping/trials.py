"""One trial: a run of the recipe with some values set, in a process of its own, what it tells on its way, and what it is judged by."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import BUDGET_MISSED, CompressError, ParityError, StoreError
from compress.fleet.fleet import bench_fleet
from compress.listing import find_bundle
from compress.recipe.fleet import Fleet, FleetDevice
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.recipe.sweep import Limits
from compress.store.artifacts import load

SIZES = ("parameters", "multiply_adds")  # of a student
TRAINED = ("accuracy", *SIZES)  # objectives that need no file of the student
DIRECTIONS = {
    **{"accuracy": "maximize", "parameters": "minimize", "multiply_adds": "minimize", "latency_ratio": "maximize"},
    **{"latency_ms": "minimize", "size_mb": "minimize", "memory_mb": "minimize"},
}
FROM_SUMMARY = {  # objective -> key of summary.json, and how many of its units make one of the objective's
    "latency_ratio": ("shipped_latency_ratio", 1.0),
    "latency_ms": ("shipped_latency_ms", 1.0),
    "size_mb": ("shipped_size_bytes", 1e6),
    "memory_mb": ("shipped_memory_bytes", 1e6),
}
FINISHED = (0, BUDGET_MISSED, ParityError.exit_code)  # results are there, and the trial is as good as they are
INTERRUPTED = 130


class TrialError(CompressError):
    """The run of a trial ended with an error, as it would again."""


class TrialKilled(TrialError):
    """The run of a trial was ended from outside, or by a disk; again it may come to its end."""


@dataclass(frozen=True)
class Trials:
    """How the trials of one sweep are run."""

    recipe: Path
    overrides: tuple[str, ...]  # of the sweep as a whole
    objectives: tuple[str, ...]
    runs: Path
    folder: Path  # where each run's log goes
    threads: int | None
    device: str
    limits: Limits = Limits()
    store: str | None = None
    at: FleetDevice | None = None  # where latency_ms is measured; None: by the run itself

    def load(self, name: str, values: Sequence[str]) -> LoadedRecipe:
        """The recipe of one trial; values: each `place=value`."""
        return load_recipe(self.recipe, [*self.overrides, *values, f"name={name}"])

    def events(self, name: str, values: Sequence[str]) -> Generator[dict[str, Any]]:
        """What a run called `name` tells on its way, and at last {"objectives": [...]}; a half-made one goes on from where it was. When the
        iterator is closed the run ends; what it has made stays in the store.

        What is timed runs alone on this machine, everything before beside other trials.
        Raises: TrialError with the run's own words, LimitError.
        """
        recipe, summary = self.load(name, values).recipe, {}
        parts: list[tuple[str | None, bool]]
        if set(self.objectives) <= set(TRAINED):
            parts = [("quantize" if recipe.quantize else "distill", False)]
        else:
            parts = [("engine" if recipe.engine else "export", False), (None, True)]
        for last, alone in parts:
            with on_this_machine(self.runs, alone=alone), closing(self._process(name, values, last)) as events:
                for event in events:
                    if "student" in event:
                        self.limits.check(event["student"], recipe)
                    if event.keys() & {"student", "validation"}:
                        yield event
                    else:
                        summary = event
        made = _student(self.runs / name)
        if made.keys() >= set(SIZES):  # not so for one that an earlier version has made
            self.limits.check(made, recipe)  # one that was there has told nothing
            yield {"student": {size: made[size] for size in SIZES}}
        yield {"objectives": [self._value(objective, summary, self.runs / name) for objective in self.objectives]}

    def _process(self, name: str, values: Sequence[str], last: str | None) -> Generator[dict[str, Any]]:
        """The lines of JSON of a run until the stage `last`."""
        words = [word for value in (*self.overrides, *values, f"name={name}") for word in ("-o", value)]
        words += ["--runs", str(self.runs), "--device", self.device, "--json", "--as-trial"]
        for option, value in (("--threads", self.threads), ("--store", self.store), ("--until", last)):
            words += [option, str(value)] if value else []
        root = str(Path(__file__).parents[2])  # makes a checkout importable that nobody installed
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
        command = [sys.executable, "-m", "compress", "run", str(self.recipe), *words]
        log = self.folder / f"{name}.log"
        with (
            log.open("a") as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=env, text=True) as process,
        ):  # left early, its input is closed, and it ends
            assert process.stdout
            yield from map(json.loads, process.stdout)
        if process.returncode < 0 or process.returncode == INTERRUPTED:
            raise TrialKilled(f"killed by signal {-process.returncode}" if process.returncode < 0 else "interrupted")
        if process.returncode not in FINISHED:
            lines = log.read_text().strip().splitlines() or [f"its process ended with {process.returncode}"]
            kind = TrialKilled if process.returncode == StoreError.exit_code else TrialError
            raise kind(lines[-1].removeprefix("error: "))

    def _value(self, objective: str, summary: dict[str, Any], run: Path) -> float:
        if objective == "accuracy":
            return validation_accuracy(run)
        if objective in TRAINED:
            return float(_student(run)[objective])
        key, unit = FROM_SUMMARY[objective]
        if objective == "latency_ms" and self.at:
            return self._measure_at(self.at, run, summary["shipped_model"])
        if summary.get(key) is None:
            raise TrialError(f"{objective}: was not measured on this machine, because what ships is for another; see {run}")
        return summary[key] / unit

    def _measure_at(self, device: FleetDevice, run: Path, model: str) -> float:
        """Median latency of the model that ships at batch 1 on that device, ms; one trial at a time."""
        asked = Fleet(devices={run.name: device}, batches=[1], model=model)
        with on_this_machine(self.runs, alone=True):
            (found,) = bench_fleet(find_bundle(str(run), runs=self.runs), self.folder, asked, say=lambda line: None)
        if found.measured is None:
            raise TrialError(f"latency_ms: {found.error}")
        return found.measured["measurements"][0]["median_ms"]


def validation_accuracy(run: Path) -> float:
    """What the student of a run was worth on validation, %: in int8 where that was trained, else as it was distilled.

    Not on test: what is chosen by test rows is no longer tested by them.
    """
    for stage in ("quantize", "distill"):
        for folder in run.glob(f"*-{stage}"):
            if measured := load(folder).metrics.get("validation_accuracy"):
                return measured["value"]
    raise TrialError(f"{run}: holds no trained student")


def _student(run: Path) -> dict[str, Any]:
    return next(load(folder).details for folder in run.glob("*-distill"))


@contextmanager
def on_this_machine(runs: Path, *, alone: bool) -> Iterator[None]:
    """Inside, no other trial of this runs folder is at work on this machine (`alone`), or none that must be alone."""
    with (runs / f".trials-{platform.node()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
