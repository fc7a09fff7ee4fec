"""One trial: a run of the recipe with some values set, in a process of its own, and what it is judged by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import BUDGET_MISSED, CompressError, ParityError
from compress.recipe.grammar import load_recipe
from compress.store.artifacts import load

TRAINED = "accuracy"  # the one objective that needs no file of the student
DIRECTIONS = {"accuracy": "maximize", "latency_ratio": "maximize", "latency_ms": "minimize", "size_mb": "minimize", "memory_mb": "minimize"}
FROM_SUMMARY = {  # objective -> key of summary.json, and how many of its units make one of the objective's
    "latency_ratio": ("shipped_latency_ratio", 1.0),
    "latency_ms": ("shipped_latency_ms", 1.0),
    "size_mb": ("shipped_size_bytes", 1e6),
    "memory_mb": ("shipped_memory_bytes", 1e6),
}
FINISHED = (0, BUDGET_MISSED, ParityError.exit_code)  # results are there, and the trial is as good as they are


class TrialError(CompressError):
    """The run of a trial ended with an error, as it would again."""


class TrialKilled(TrialError):
    """The run of a trial was ended from outside; again it may come to its end."""


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

    def run(self, name: str, values: Sequence[str]) -> list[float]:
        """The objectives of a run called `name`, with `values` (each `place=value`) set; a half-made one goes on from where it was.

        Raises: TrialError with the run's own words.
        """
        overrides = [*self.overrides, *values, f"name={name}"]
        recipe = load_recipe(self.recipe, overrides).recipe
        last = ("quantize" if recipe.quantize else "distill") if set(self.objectives) == {TRAINED} else None
        words = ["run", str(self.recipe), *(word for override in overrides for word in ("-o", override)), "--runs", str(self.runs)]
        words += [
            "--device",
            self.device,
            *(["--threads", str(self.threads)] if self.threads else []),
            *(["--until", last] if last else []),
        ]
        root = str(Path(__file__).parents[2])  # makes a checkout importable that nobody installed
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
        with (self.folder / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", "compress", *words, "--json", "--with-parent"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, text=True)
            with process:
                assert process.stdout
                said = process.stdout.read()
        if process.returncode < 0:
            raise TrialKilled(f"killed by signal {-process.returncode}")
        if process.returncode not in FINISHED:
            lines = (self.folder / f"{name}.log").read_text().strip().splitlines() or [f"its process ended with {process.returncode}"]
            raise TrialError(lines[-1].removeprefix("error: "))
        summary = json.loads(said.splitlines()[-1])
        return [self._value(objective, summary, self.runs / name) for objective in self.objectives]

    def _value(self, objective: str, summary: dict[str, Any], run: Path) -> float:
        if objective == TRAINED:
            return validation_accuracy(run)
        key, unit = FROM_SUMMARY[objective]
        if summary.get(key) is None:
            raise TrialError(f"{objective}: was not measured on this machine, because what ships is for another; see {run}")
        return summary[key] / unit


def validation_accuracy(run: Path) -> float:
    """What the student of a run was worth on validation, %: in int8 where that was trained, else as it was distilled.

    Not on test: what is chosen by test rows is no longer tested by them.
    """
    for stage in ("quantize", "distill"):
        for folder in run.glob(f"*-{stage}"):
            if measured := load(folder).metrics.get("validation_accuracy"):
                return measured["value"]
    raise TrialError(f"{run}: holds no trained student")
