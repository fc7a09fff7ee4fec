"""The run, top to bottom: `chain` is the whole of it, one call a stage; `run` makes what is missing, `plan` only says what it would do.

A step is: fingerprint; in the store? take it; else call the stage in a partial folder, publish by rename, log one line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from compress.errors import RecipeError
from compress.making import assist, check_batches, is_late, make
from compress.modalities.teacher_inputs import with_teacher_inputs
from compress.modalities.teacher_starts import check_teacher_starts
from compress.placement import AUTO, own_device
from compress.ranks.group import Group, join
from compress.recipe.grammar import LoadedRecipe
from compress.recipe.packages import require_packages
from compress.recipe.recipe import Recipe
from compress.reporting.summary import costs_of, describe_run, summarise_costs
from compress.store.artifacts import Artifact, fingerprint, write_json_atomic
from compress.store.beside import Beside
from compress.store.keys import Keys, PlannedStage, link_name, number, stage_of
from compress.store.run_result import RunResult
from compress.tables import STAGES


class Step(Protocol):
    """What `chain` calls for each stage: the artifact of that stage made from these artifacts."""

    def __call__(self, name: str, *parents: Artifact | None, of: int = 0) -> Artifact: ...


def chain(step: Step, recipe: Recipe) -> None:
    """The whole run."""
    if recipe.teachers:
        asked = [ask(step, recipe.taught_by(number), of=number) for number in range(1, len(recipe.teachers) + 1)]
        data, teacher, *_ = asked[0]  # the student starts from the first
        judged = targets = step("ensemble", *(part for data, teacher, _, answers in asked for part in (teacher, answers, data)))
        teacher_onnx, members = None, [part for data, teacher, exported, _ in asked for part in (exported, teacher, data)]
    else:
        data, judged, teacher_onnx, targets = ask(step, recipe)
        teacher, members = judged, []
        data = step("truth", teacher, data) if recipe.data.judge == "teacher" else data
    alone = step("alone", teacher, targets, data) if recipe.distill.compare_alone else None  # beside: distill waits for it at its end
    student = step("distill", teacher, targets, data, alone)
    quantized = step("quantize", student, targets, data) if recipe.quantize else None
    onnx = step("export", student, quantized, data)
    engine = step("engine", onnx) if recipe.engine else None
    measurements = step("benchmark", teacher_onnx, onnx, judged, student, data, *members)
    report = step("report", measurements, onnx, teacher_onnx, engine, judged, targets, student, quantized, data)
    step("bundle", report, onnx, engine, student, data)


def ask(step: Step, recipe: Recipe, of: int = 0) -> tuple[Artifact, Artifact, Artifact | None, Artifact]:
    """The data as one teacher reads them, the teacher, its ONNX file, and its answers to the training rows; `of`: which of several it is."""
    data = step("data", of=of)
    features = step("features", data, of=of) if recipe.teacher.source == "fit" else None
    teacher = step("teacher", features, data, of=of)
    exported = step("export_teacher", teacher, data, of=of) if recipe.teacher.asked else None  # beside: the benchmark first waits for it
    return data, teacher, exported, step("targets", teacher, features, data, of=of)


OF_TEACHER = ("features", "teacher", "export_teacher", "targets")  # made once for each of several teachers
FROM_TEACHER = ("features", "teacher", "targets", "alone", "distill")  # of no use where the student cannot start from its teacher


class _LastStage(Exception): ...  # noqa: N818 - no error: --until was reached


def plan(
    loaded: LoadedRecipe, *, runs: Path, threads: int | None = None, device: str = AUTO, store: str | None = None
) -> list[PlannedStage]:
    """Each stage of the recipe: reuse or run, and why. Nothing is made; `store`: what is at that URL is mirrored."""
    steps, planned = Keys(with_teacher_inputs(loaded), runs, threads, print, device, store), []

    def step(name: str, *parents: Artifact | None, of: int = 0) -> Artifact:
        made_of, found = steps.find(name, parents, of=of)
        planned.append(steps.explain(name, made_of, found, of))
        return found or Artifact(fingerprint=planned[-1].fingerprint)

    chain(step, loaded.recipe)
    return planned


def run(
    loaded: LoadedRecipe,
    *,
    runs: Path,
    threads: int | None = None,
    device: str = AUTO,
    store: str | None = None,
    first: str | None = None,
    last: str | None = None,
    say: Callable[[str], None] = print,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Makes what is missing. `first`: this stage and the later ones are made again; `last`: stop after this one. `tell`: of a trial of a sweep,
    see Context; such a run waits for what another one is making.

    Of several processes that a launcher started (compress/ranks/) only the first one's result says anything.
    """
    group = join()
    with group.session() if group else nullcontext():
        require_packages(loaded.recipe)
        check_batches(loaded.recipe, group.world if group else 1)
        steps = Keys(with_teacher_inputs(loaded), runs, threads, say, own_device(device, group.local if group else 0), store)
        if tell:
            steps.tell, steps.store.waits = tell, True
        if first and store:
            raise RecipeError(f"--from {first}: what is at {store} is everyone's and is not made anew; leave --store out")
        if group and group.rank:
            assist(steps, group)
            return RunResult({}, [], steps.folder.path)
        return run_stages(steps, loaded, store, first=first, last=last, group=group)


def run_stages(
    steps: Keys, loaded: LoadedRecipe, store: str | None, *, first: str | None, last: str | None, group: Group | None
) -> RunResult:
    """`run` in the only process, or in the first of several."""
    started, say, runs = time.monotonic(), steps.say, steps.store.runs
    result = RunResult({}, [], steps.folder.path)
    last = link_name(last, len(steps.recipe.teachers)) if last in OF_TEACHER else last  # of several teachers the last one's
    anew = [name for name in STAGES if number(name) >= number(first)] if first else []
    check_starts = cache(partial(check_teacher_starts, steps.loaded))  # once, before the first stage that needs it

    def step(name: str, *parents: Artifact | None, of: int = 0) -> Artifact:
        beside.check()
        parents = tuple(parent if parent and is_late(steps, name, parent) else finished(parent) for parent in parents)
        made_of, artifact = steps.find(name, parents, anew=name in anew, of=of)
        if artifact is None and name in FROM_TEACHER:
            check_starts()
        if artifact is None and link_name(name, of) != last and beside.may(name, shared=group is not None):
            return beside.start(link_name(name, of), made_of)
        verb = "reused" if artifact else "made"
        return note(link_name(name, of), artifact or make(steps, name, made_of, parents, result, of, group, finished), verb)

    def finished(artifact: Artifact | None) -> Artifact | None:
        if artifact is None or (name := beside.wait(artifact, say)) is None:
            return artifact and next((a for a in result.artifacts.values() if a.fingerprint == artifact.fingerprint), artifact)
        return note(name, steps.published(stage_of(name), artifact), "made")

    def note(name: str, artifact: Artifact, verb: str) -> Artifact:
        assert artifact.path
        place = number(stage_of(name))
        steps.folder.link(place, name, artifact.path)
        result.artifacts[name] = artifact
        say(f"{place:>2}-{name:<14} {verb:<6} {artifact.cost:>20}  {artifact.fingerprint[:12]}")
        if name == last:
            raise _LastStage
        return artifact

    with steps.folder.hold(), Beside(loaded, runs=runs, threads=steps.threads, device=steps.device, last=last, store=store) as beside:
        steps.watch, steps.lent = beside.check, beside.lent
        try:
            chain(step, loaded.recipe)
        except _LastStage:
            return result
        summary = result.summary = json.loads(result.artifacts["report"].file("summary.json").read_text())
        found = result.artifacts["report"].details
        result.budget_misses, result.parity_misses = found["budget_misses"], found["parity_misses"]
        summary |= summarise_costs(costs_of(result.artifacts))
        write_json_atomic(steps.folder.path / "summary.json", summary)
    say(". ".join([describe_run(summary), *summary["doubts"]]))
    say(f"finished in {time.monotonic() - started:.1f} s; report: {result.report}, bundle: {result.bundle}")
    return result


def make_beside(loaded: LoadedRecipe, stage: str, *, runs: Path, threads: int, device: str = AUTO, store: str | None = None) -> None:
    """Makes one stage whose inputs are in the store: what a process does that `run` starts beside itself."""
    steps = Keys(with_teacher_inputs(loaded), runs, threads, lambda _: None, device, store)
    steps.store.waits = True  # for another run that makes the same, such as a trial with other losses

    def step(name: str, *parents: Artifact | None, of: int = 0) -> Artifact:
        made_of, artifact = steps.find(name, parents, of=of)
        if link_name(name, of) == stage:
            artifact or make(steps, name, made_of, parents, RunResult({}, [], runs), of)
            raise _LastStage
        return artifact or Artifact(fingerprint=fingerprint(made_of))

    with suppress(_LastStage):
        chain(step, loaded.recipe)
