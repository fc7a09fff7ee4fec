"""`Run`: what a finished run left on disk, as pages about runs read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData, open_data
from compress.errors import CompressError
from compress.recipe.sections import Budget
from compress.recipe.yaml_source import read_yaml


@dataclass(frozen=True)
class Run:
    """A run's folder with its summary and measurements."""

    name: str
    folder: Path
    summary: dict[str, Any]
    measurements: dict[str, Any]

    @property
    def shipped(self) -> dict[str, Any]:
        """The measurements of the file that ships."""
        return dict(self.measurements["models"][self.summary["shipped_model"]])

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every default filled in, as its bundle holds it; empty where there is no bundle yet."""
        found = sorted(self.folder.glob("*-bundle/bundle/recipe.yaml"))
        data = read_yaml(found[0].read_text(encoding="utf-8")).data if found else None
        return data if isinstance(data, dict) else {}

    @property
    def budget(self) -> Budget:
        """The budget of its recipe."""
        return Budget.model_validate(self.recipe.get("budget") or {})

    @cached_property
    def data(self) -> PreparedData:
        """The rows that it was trained and tested on."""
        return open_data(_stage(self.folder, "data"))

    @cached_property
    def answers(self) -> dict[str, np.ndarray]:
        """`rows` (R,), indices into the test split, and `model_<name>` (R, ...), what each file answered."""
        with np.load(_stage(self.folder, "benchmark") / "predictions.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises CompressError where it has no report yet, or where a file is not as it was written."""
    summary = _read(folder / "summary.json", "the run has not come to its report yet, so run it again")
    measurements = _read(_stage(folder, "benchmark") / "measurements.json", "run the recipe again")
    if summary.get("shipped_model") not in measurements.get("models", {}):
        raise CompressError(f"{folder / 'summary.json'}: ships a model that was not measured; run the recipe again")
    return Run(folder.resolve().name, folder, summary, measurements)


def _stage(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*-{name}"))
    if not found:
        raise CompressError(f"{folder}: holds no stage {name!r}; run the recipe again")
    return found[0]


def _read(path: Path, way_out: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CompressError(f"{path}: not there; {way_out}") from None
    except ValueError as error:
        raise CompressError(f"{path}: not JSON ({error}); {way_out}") from error
    return data
