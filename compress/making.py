"""One stage made: by this process, or by all processes of a run where it trains something."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compress.context import Context, never_silent
from compress.errors import RecipeError, StoreError
from compress.ranks.group import Group, acting, here
from compress.recipe.recipe import Recipe
from compress.reporting.summary import costs_of
from compress.store.artifacts import CHECKPOINT, Artifact, DataArtifact, fingerprint, write_json_atomic
from compress.store.cost import Cost
from compress.store.heap import freed_memory_kept
from compress.store.ingredients import licences, only, source_of, trainings
from compress.store.keys import Keys
from compress.store.run_result import RunResult
from compress.store.store import storage_errors
from compress.tables import STAGES, resolve


def make(
    steps: Keys,
    name: str,
    made_of: dict[str, Any],
    parents: tuple[Artifact | None, ...],
    result: RunResult,
    of: int = 0,
    group: Group | None = None,
    finish: Callable[[Artifact], Artifact | None] = lambda artifact: artifact,
) -> Artifact:
    """Calls one stage in its partial folder and publishes what it leaves there.

    group: the processes that help where it trains. finish: waits for an artifact that may still be made.
    """
    with steps.store.partial(name, fingerprint(made_of)) as folder, storage_errors(folder), never_silent(name, steps.say) as say:
        if steps.store.waits and (made := steps.store.look_up(name, fingerprint(made_of))):  # by the process that was waited for
            folder.rmdir()
            return made
        with Cost(folder / CHECKPOINT / "spent.json") as cost, together(steps, name, parents, of, group):
            artifact = call(steps, name, parents, folder, say, of, finish, **given(name, steps, result))
        made = replace(artifact, run=steps.recipe.name, seconds=cost.seconds, peak_bytes=cost.peak_bytes)
        return steps.store.publish(folder, made, made_of=made_of)


def call(
    steps: Keys,
    name: str,
    parents: tuple[Artifact | None, ...],
    folder: Path,
    say: Any,
    of: int,
    finish: Callable[[Artifact], Artifact | None],
    **more: Any,
) -> Artifact:
    """What the stage's function gives."""
    threads = threads_for(steps, folder)
    ctx = Context(folder, steps.recipe.seed, threads, say, steps.loaded.base, steps.device, steps.watch, steps.tell)
    if "torch" in STAGES[name].libraries:
        importlib.import_module("torch").set_num_threads(threads)
    part = only(steps.of(of).recipe, STAGES[name].reads)
    with freed_memory_kept():
        given = (partial(finish, one) if one and is_late(steps, name, one) else opened(one) for one in parents)
        artifact: Artifact = resolve(STAGES[name].function)(part, *given, ctx=ctx, **more)
    return artifact


def threads_for(steps: Keys, folder: Path) -> int:
    """How many threads a stage has: all but those of a training beside it. One that goes on has as many as it began with, though that training may
    be over: their number decides the order of its sums."""
    note, asked, lent = folder / CHECKPOINT / "threads.json", steps.threads // here().nearby, steps.lent()
    noted = json.loads(note.read_text()) if note.is_file() else {}
    if noted.get("asked") == asked:
        return int(noted["given"])
    given = max(1, (steps.threads - lent) // here().nearby)
    if lent:
        note.parent.mkdir(exist_ok=True)
        write_json_atomic(note, {"asked": asked, "given": given})
    return given


def is_late(steps: Keys, name: str, parent: Artifact) -> bool:
    """Whether the stage waits for that artifact itself."""
    return steps.made_by[parent.fingerprint] in STAGES[name].late


def trains(name: str, recipe: Recipe) -> bool:
    """Whether several processes make a stage together: it trains something, and on all of its rows."""
    return name in ("alone", "distill", "quantize") or (
        name == "teacher" and (recipe.teacher.source == "fit" or recipe.teacher.fine_tune is not None)
    )


def check_batches(recipe: Recipe, processes: int) -> None:
    """Raises RecipeError where a batch of the recipe cannot be dealt to so many processes; one that fits a small set is looked at before its training."""
    least = min(training.batch_size for training in trainings(recipe))
    if least < processes:
        raise RecipeError(f"train.batch_size: a batch of {least} inputs cannot be dealt to {processes} processes; start {least} at most")


@contextmanager
def together(steps: Keys, name: str, parents: tuple[Artifact | None, ...], of: int, group: Group | None) -> Iterator[None]:
    """Inside, the other processes of the run make the stage as well, and all of them are one batch's."""
    if group is None or not trains(name, steps.of(of).recipe):
        yield
        return
    group.tell(
        {"stage": name, "of": of, "parents": [parent and [steps.made_by[parent.fingerprint], parent.fingerprint] for parent in parents]}
    )
    with acting(group.ranks):
        yield


def assist(steps: Keys, group: Group) -> None:
    """What all processes but the first do: help in each stage that it tells of, and publish nothing."""
    while (told := group.hear()) is not None:
        steps.made_by |= {key: name for name, key in filter(None, told["parents"])}
        parents = tuple(one and steps.store.look_up(*one, verify=False) for one in told["parents"])
        if any(one and not found for one, found in zip(told["parents"], parents, strict=True)):
            raise StoreError(
                f"{steps.store.root}: has not what the first process made; all processes need the same runs folder, or --store"
            )
        with acting(group.ranks), group.folder() as folder:
            call(steps, told["stage"], parents, folder, lambda line: None, told["of"], lambda artifact: artifact)


def given(name: str, steps: Keys, result: RunResult) -> dict[str, Any]:
    """What a stage gets besides its part of the recipe and its artifacts."""
    if name == "data":
        return {"source": source_of(steps.loaded)}
    if name == "report":
        return {"stages": costs_of(result.artifacts, reused=steps.reused)}
    if name == "bundle":
        return {"resolved": steps.recipe.model_dump(mode="json"), "licences": licences(steps.loaded)}
    return {}


def opened(artifact: Artifact | None) -> Any:
    """Prepared data are handed on open, everything else as the artifact that it is."""
    if isinstance(artifact, DataArtifact):
        from compress.data.prepared import open_data

        assert artifact.path
        return open_data(artifact.path)
    return artifact
