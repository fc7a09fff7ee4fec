"""`Keys`: what planning and running share: the fingerprint of each stage of a recipe, and where its artifact lies or would lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import StoreError
from compress.placement import find_device, training_precision
from compress.recipe.grammar import LoadedRecipe
from compress.store.artifacts import CHECKPOINT, Artifact, explain, fingerprint, ingredients
from compress.store.at_url import open_store
from compress.store.ingredients import as_json, identity, machine, only, trainings, used_libraries
from compress.store.store import RunFolder
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

    def __init__(
        self, loaded: LoadedRecipe, runs: Path, threads: int | None, say: Callable[[str], None], device: str, store: str | None = None
    ) -> None:
        self.device = find_device(device)
        for training in trainings(loaded.recipe):  # what this device cannot do is said before anything is done
            training_precision(training.precision, self.device)
        load_plugins(loaded.plugins)
        self.loaded, self.recipe, self.say = loaded, loaded.recipe, say
        self.threads = threads or os.cpu_count() or 1
        self.store = open_store(store, runs, say=say)
        self.folder = RunFolder(runs / loaded.recipe.name)
        self.watch: Callable[[], None] = lambda: None  # called while a stage works: see Context
        self.lent: Callable[[], int] = lambda: 0  # threads that a training beside this process has
        self.tell: Callable[[dict[str, Any]], None] = lambda event: None  # of a trial of a sweep: see Context
        self.made_by: dict[str, str] = {}  # fingerprint -> stage
        self.reused: set[str] = set()  # stages whose result was found in the store

    def of(self, number: int) -> LoadedRecipe:
        """The recipe with one of its several teachers alone, counted from 1; 0: as it is."""
        return replace(self.loaded, recipe=self.recipe.taught_by(number)) if number else self.loaded

    def made_of(self, name: str, parents: tuple[Artifact | None, ...], of: int = 0) -> dict[str, Any]:
        """Everything that the stage's result depends on; `of`: the teacher that it belongs to, see `of`."""
        stage, loaded = STAGES[name], self.of(of)
        recipe = loaded.recipe
        config = as_json(only(recipe, stage.reads))
        extras: dict[str, Any] = identity(name, loaded, self.device)
        if stage.seeded and (name != "teacher" or recipe.teacher.source == "fit"):  # only a fitted teacher is trained here
            extras["seed"] = recipe.seed
        if name == "benchmark":
            extras |= {"machine": machine(), "threads": self.threads}
        given: dict[str, str] = {}
        for parent in filter(None, parents):
            role = self.made_by[parent.fingerprint]
            given[role if role not in given else f"{role} {len(given)}"] = parent.fingerprint  # of several teachers there are several
        return ingredients(name, stage.version, config=config, parents=given, extras=extras, libraries=used_libraries(stage, recipe))

    def find(
        self, name: str, parents: tuple[Artifact | None, ...], *, anew: bool = False, of: int = 0
    ) -> tuple[dict[str, Any], Artifact | None]:
        """What the stage's result depends on, and the result where the store has it; `anew`: that one is discarded first."""
        made_of = self.made_of(name, parents, of)
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

    def explain(self, name: str, made_of: dict[str, Any], found: Artifact | None, of: int = 0) -> PlannedStage:
        """Whether the stage would be reused or run, and why."""
        key, link = fingerprint(made_of), link_name(name, of)
        if found:
            return PlannedStage(number(name), link, "reuse", f"made {found.created} in {found.cost}", key)
        half = (self.store.partial_folder(name, key) / CHECKPOINT).is_dir()
        why = "goes on from its checkpoint" if half else explain(name, made_of, self.store.previous(link, self.folder.path))
        return PlannedStage(number(name), link, "run", why, key)


def number(name: str) -> int:
    """The stage's place in the run, from 1."""
    return [stage for stage in STAGES if not STAGES[stage].beside].index(STAGES[name].beside or name) + 1


def stage_of(link: str) -> str:
    """The stage of what `link_name` gives."""
    return link if link in STAGES else link.rpartition("_")[0]


def link_name(name: str, of: int = 0) -> str:
    """What a run folder calls the artifact of a stage: of several teachers each with its number, but for the data, which are the first's."""
    return f"{name}_{of}" if of > (name == "data") else name
