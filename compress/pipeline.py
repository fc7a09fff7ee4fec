"""The run, top to bottom: `chain` is the whole of it, one call a stage; `run` makes what is missing, `plan` only says what it would do.

A step is: fingerprint; in the store? take it; else call the stage in a partial folder, publish by rename, log one line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from compress.artifacts import CHECKPOINT, Artifact, DataArtifact, explain, fingerprint, ingredients, write_json_atomic
from compress.context import Context
from compress.dependencies import as_json, identity, licences, machine, only, require_extras, source_of
from compress.grammar import LoadedRecipe
from compress.recipe import Recipe
from compress.store import RunFolder, Store, storage_errors
from compress.tables import load_plugins, resolve


@dataclass(frozen=True)
class Stage:
    """A stage: its function, what of the recipe it may read, and what else its result depends on."""

    function: str  # "module:function", imported only when it must run
    version: int  # raised when the same inputs give another result
    reads: tuple[str, ...]  # dotted parts of the recipe; all that the function gets to see
    libraries: tuple[str, ...]  # distributions that make the result
    seeded: bool = False


TRAINING = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
IMAGE_VIEWS = tuple(f"distill.augment.{name}" for name in ("views", "flip", "shift"))
STAGES = {  # in the order they run; the number of a run folder's link is the place in this table
    "data": Stage("compress.stages.data:prepare_data", 1, ("data", "teacher.image_size"), ("numpy", "pillow", "pyarrow")),
    "features": Stage("compress.stages.features:encode_features", 1, ("data", "teacher.image", "teacher.text", *IMAGE_VIEWS), TRAINING),
    "teacher": Stage("compress.stages.teacher:load_teacher", 2, ("data", "teacher"), TRAINING, seeded=True),
    "targets": Stage("compress.stages.targets:store_targets", 1, ("data", "distill.augment"), TRAINING),
    "distill": Stage("compress.stages.distill:distill", 3, ("data", "student", "distill"), TRAINING, seeded=True),
    "quantize": Stage("compress.stages.quantize:quantize", 2, ("quantize", "distill.losses"), TRAINING, seeded=True),
    "export_teacher": Stage(
        "compress.stages.export:export_teacher", 1, ("export.opset", "export.parity"), ("torch", "onnx", "onnxscript", "onnxruntime")
    ),
    "export": Stage(
        "compress.stages.export:export", 3, ("export", "quantize"), ("torch", "onnx", "onnxscript", "onnxruntime", "litert-torch")
    ),
    "engine": Stage("compress.stages.engine:engine", 1, ("engine",), ("tensorrt-rtx", "tensorrt")),
    "benchmark": Stage("compress.stages.benchmark:benchmark", 2, ("benchmark",), ("onnxruntime", "openvino", "ai-edge-litert", "numpy")),
    "report": Stage(
        "compress.stages.report:report", 1, ("name", "description", "quantize", "export.targets", "budget"), ("matplotlib", "jinja2")
    ),
    "bundle": Stage("compress.stages.bundle:bundle", 1, ("engine",), ("numpy",)),
}


class Step(Protocol):
    """What `chain` calls for each stage: the artifact of that stage made from these artifacts."""

    def __call__(self, name: str, *parents: Artifact | None) -> Artifact: ...


def chain(step: Step, recipe: Recipe) -> None:
    """The whole run."""
    data = step("data")
    features = step("features", data) if recipe.teacher.source == "fit" else None
    teacher = step("teacher", features, data)
    targets = step("targets", teacher, features, data)
    student = step("distill", teacher, targets, data)
    quantized = step("quantize", student, targets, data) if recipe.quantize else None
    teacher_onnx = step("export_teacher", teacher, data)
    onnx = step("export", student, quantized, data)
    engine = step("engine", onnx) if recipe.engine else None
    measurements = step("benchmark", teacher_onnx, onnx, teacher, student, data)
    report = step("report", measurements, onnx, teacher_onnx, engine, teacher, targets, student, quantized, data)
    step("bundle", report, onnx, engine, student, data)


@dataclass(frozen=True)
class PlannedStage:
    """One line of `compress plan`."""

    index: int
    name: str
    action: str  # "reuse" or "run"
    reason: str
    fingerprint: str


@dataclass
class RunResult:
    """What a run leaves: summary.json's content, a line for each miss of the budget, and the run folder."""

    summary: dict
    budget_misses: list[str]
    folder: Path
    artifacts: dict[str, Artifact] = field(default_factory=dict)


class _LastStage(Exception):  # noqa: N818 - no error: --until was reached
    pass


class _Chain:
    """What planning and running share: the fingerprint of each stage and where its artifact would lie."""

    def __init__(self, loaded: LoadedRecipe, runs: Path, threads: int | None, say: Callable[[str], None]) -> None:
        load_plugins(loaded.plugins)
        self.loaded, self.recipe, self.say = loaded, loaded.recipe, say
        self.threads = threads or os.cpu_count() or 1
        self.store = Store(runs / ".store", say=say, runs=runs)
        self.folder = RunFolder(runs / loaded.recipe.name)
        self.made_by: dict[str, str] = {}  # fingerprint -> stage

    def made_of(self, name: str, parents: tuple[Artifact | None, ...]) -> dict[str, Any]:
        """Everything that the stage's result depends on."""
        stage = STAGES[name]
        config = as_json(only(self.recipe, stage.reads))
        extras: dict[str, Any] = identity(name, self.loaded)
        if stage.seeded and (name != "teacher" or self.recipe.teacher.source == "fit"):  # only a fitted teacher is trained here
            extras["seed"] = self.recipe.seed
        if name == "benchmark":
            extras |= {"machine": machine(), "threads": self.threads}
        given = {self.made_by[p.fingerprint]: p.fingerprint for p in parents if p is not None}
        return ingredients(name, stage.version, config=config, parents=given, extras=extras, libraries=stage.libraries)


def plan(loaded: LoadedRecipe, *, runs: Path, threads: int | None = None) -> list[PlannedStage]:
    """Each stage of the recipe: reuse or run, and why. Nothing is made."""
    steps = _Chain(loaded, runs, threads, print)
    planned: list[PlannedStage] = []

    def step(name: str, *parents: Artifact | None) -> Artifact:
        made_of = steps.made_of(name, parents)
        key = fingerprint(made_of)
        steps.made_by[key] = name
        found = steps.store.look_up(name, key)
        if found:
            action, reason = "reuse", f"made {found.created} in {found.seconds:.1f} s"
        else:
            half = (steps.store.partial_folder(name, key) / CHECKPOINT).is_dir()
            why = explain(name, made_of, steps.store.previous(name, steps.folder.path))
            action, reason = "run", "goes on from its checkpoint" if half else why
        planned.append(PlannedStage(number(name), name, action, reason, key))
        return found or Artifact(fingerprint=key)

    chain(step, loaded.recipe)
    return planned


def run(
    loaded: LoadedRecipe,
    *,
    runs: Path,
    threads: int | None = None,
    first: str | None = None,
    last: str | None = None,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Makes what is missing. `first`: this stage and the later ones are made again; `last`: stop after this one."""
    require_extras(loaded.recipe)
    steps = _Chain(loaded, runs, threads, say)
    result = RunResult({}, [], steps.folder.path)
    order, started = list(STAGES), time.monotonic()
    anew = order[order.index(first) :] if first else []

    def step(name: str, *parents: Artifact | None) -> Artifact:
        made_of = steps.made_of(name, parents)
        key = fingerprint(made_of)
        steps.made_by[key] = name
        if name in anew:
            steps.store.discard(name, key)
        artifact = steps.store.look_up(name, key)
        verb = "reused"
        if artifact is None:
            artifact, verb = make(steps, name, made_of, parents, result), "made"
        assert artifact.path
        steps.folder.link(number(name), name, artifact.path)
        result.artifacts[name] = artifact
        say(f"{number(name):>2}-{name:<14} {verb} {artifact.seconds:8.1f} s  {artifact.fingerprint[:12]}")
        if name == last:
            raise _LastStage
        return artifact

    with steps.folder.hold():
        try:
            chain(step, loaded.recipe)
        except _LastStage:
            return result
        summary = result.summary = json.loads(result.artifacts["report"].file("summary.json").read_text())
        result.budget_misses = result.artifacts["report"].details["budget_misses"]
        summary["seconds_cold"] = round(sum(a.seconds for a in result.artifacts.values()), 1)
        write_json_atomic(steps.folder.path / "summary.json", summary)
    say(describe(summary))
    where = {"report": f"{number('report')}-report/report.html", "bundle": f"{number('bundle')}-bundle/bundle"}
    say(
        f"finished in {time.monotonic() - started:.1f} s; "
        + ", ".join(f"{what}: {steps.folder.path}/{path}" for what, path in where.items())
    )
    return result


def describe(summary: dict[str, Any]) -> str:
    """What the run came to, in one line."""
    ratio = summary["shipped_latency_ratio"]
    speed = f"{ratio:.1f}x faster at batch 1" if ratio else "not timed on this machine"
    return (
        f"teacher {100 * summary['teacher_accuracy']:.2f} %, student {100 * summary['student_accuracy']:.2f} %; ships {summary['shipped_model']}: "
        f"{100 * summary['shipped_accuracy']:.2f} % of {summary['samples']:,} test samples, {summary['shipped_size_ratio']:.0f}x smaller, {speed}"
    )


def make(steps: _Chain, name: str, made_of: dict[str, Any], parents: tuple[Artifact | None, ...], result: RunResult) -> Artifact:
    """Calls one stage in its partial folder and publishes what it leaves there."""
    key = fingerprint(made_of)
    with steps.store.partial(name, key) as folder, storage_errors(folder):
        spent = folder / CHECKPOINT / "seconds"  # of an earlier try that was interrupted
        started = time.monotonic() - (float(spent.read_text()) if spent.is_file() else 0.0)
        ctx = Context(folder, steps.recipe.seed, steps.threads, steps.say, steps.loaded.base)
        set_threads(name, steps.threads)
        part = only(steps.recipe, STAGES[name].reads)
        try:
            artifact = resolve(STAGES[name].function)(part, *map(opened, parents), ctx=ctx, **given(name, steps, result))
        except BaseException:
            if spent.parent.is_dir():
                spent.write_text(str(time.monotonic() - started))
            raise
        return steps.store.publish(folder, artifact, made_of=made_of, seconds=time.monotonic() - started)


def given(name: str, steps: _Chain, result: RunResult) -> dict[str, Any]:
    """What a stage gets besides its part of the recipe and its artifacts."""
    if name == "data":
        return {"source": source_of(steps.loaded), "modalities": steps.recipe.modalities}
    if name == "report":
        return {"stages": {n: a.seconds for n, a in result.artifacts.items()}}
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


def set_threads(name: str, threads: int) -> None:
    """torch's threads, for the stages that use torch."""
    if "torch" in STAGES[name].libraries:
        import torch

        torch.set_num_threads(threads)


def number(name: str) -> int:
    """The stage's place in the run, from 1."""
    return list(STAGES).index(name) + 1
