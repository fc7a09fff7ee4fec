"""`Keys`: what planning and running share: the fingerprint of each stage of a recipe, and where its artifact lies or would lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import StoreError
from compress.placement import find_device, training_precision
from compress.recipe.grammar import LoadedRecipe
from compress.store.artifacts import CHECKPOINT, Artifact, explain, fingerprint, ingredients
from compress.store.ingredients import as_json, identity, machine, only, trainings, used_libraries
from compress.store.store import RunFolder, Store
from compress.tables import STAGES, load_plugins


@dataclass(frozen=True)
class PlannedStage:
    """One line of `compress plan`."""

    index: int
    name: str
    action: str  # "reuse" or "run"
    reason: str
    fingerprint: str


class Keys:
    """The stages of one recipe in one store."""

    def __init__(self, loaded: LoadedRecipe, runs: Path, threads: int | None, say: Callable[[str], None], device: str) -> None:
        self.device = find_device(device)
        for training in trainings(loaded.recipe):  # what this device cannot do is said before anything is done
            training_precision(training.precision, self.device)
        load_plugins(loaded.plugins)
        self.loaded, self.recipe, self.say = loaded, loaded.recipe, say
        self.threads = threads or os.cpu_count() or 1
        self.store = Store(runs / ".store", say=say, runs=runs)
        self.folder = RunFolder(runs / loaded.recipe.name)
        self.watch: Callable[[], None] = lambda: None  # called while a stage works: see Context
        self.made_by: dict[str, str] = {}  # fingerprint -> stage
        self.reused: set[str] = set()  # stages whose result was found in the store

    def made_of(self, name: str, parents: tuple[Artifact | None, ...]) -> dict[str, Any]:
        """Everything that the stage's result depends on."""
        stage = STAGES[name]
        config = as_json(only(self.recipe, stage.reads))
        extras: dict[str, Any] = identity(name, self.loaded, self.device)
        if stage.seeded and (name != "teacher" or self.recipe.teacher.source == "fit"):  # only a fitted teacher is trained here
            extras["seed"] = self.recipe.seed
        if name == "benchmark":
            extras |= {"machine": machine(), "threads": self.threads}
        given = {self.made_by[p.fingerprint]: p.fingerprint for p in parents if p is not None}
        return ingredients(name, stage.version, config=config, parents=given, extras=extras, libraries=used_libraries(stage, self.recipe))

    def find(self, name: str, parents: tuple[Artifact | None, ...], *, anew: bool = False) -> tuple[dict[str, Any], Artifact | None]:
        """What the stage's result depends on, and the result where the store has it; `anew`: that one is discarded first."""
        made_of = self.made_of(name, parents)
        key = fingerprint(made_of)
        self.made_by[key] = name
        if anew:
            self.store.discard(name, key)
        found = self.store.look_up(name, key)
        self.reused |= {name} if found else set()
        return made_of, found

    def published(self, name: str, artifact: Artifact) -> Artifact:
        """The artifact of that fingerprint, which another process has made. Raises StoreError where it is not there."""
        found = self.store.look_up(name, artifact.fingerprint)
        if found is None:
            raise StoreError(f"{name}: was made beside this run, and is not in the store; run the same command again")
        return found

    def explain(self, name: str, made_of: dict[str, Any], found: Artifact | None) -> PlannedStage:
        """Whether the stage would be reused or run, and why."""
        key = fingerprint(made_of)
        if found:
            return PlannedStage(number(name), name, "reuse", f"made {found.created} in {found.cost}", key)
        half = (self.store.partial_folder(name, key) / CHECKPOINT).is_dir()
        why = "goes on from its checkpoint" if half else explain(name, made_of, self.store.previous(name, self.folder.path))
        return PlannedStage(number(name), name, "run", why, key)


def number(name: str) -> int:
    """The stage's place in the run, from 1."""
    return list(STAGES).index(name) + 1
