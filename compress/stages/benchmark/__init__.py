"""benchmark: exported teacher and student files in, measurements.json and predictions.npz out.

Every file runs on this CPU, in ONNX Runtime and where the recipe asks in other runtimes beside it, with the same threads, in a process of
its own (no torch loaded, no other threads): `python -m compress.stages.benchmark job.json measurements.json` repeats it. Each number travels
with its unit and sample count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.errors import DeviceError
from compress.errors import CompressError
from compress.graphs.ort_format import to_ort_format
from compress.modalities.modality import modality
from compress.stages.benchmark.candidate import Candidate, gather_feeds, local_target, open_candidate, timed_files
from compress.stages.benchmark.fresh import ROOT
from compress.stages.benchmark.pairs import pair_test, pair_validation
from compress.stages.benchmark.quality import answer, select_rows
from compress.stages.benchmark.scoring import score
from compress.stages.benchmark.subsets import score_subsets
from compress.store.artifacts import Measurements, OnnxModels, TorchModel
from compress.tables import loaded_plugins

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.recipe.recipe import Recipe
    from compress.recipe.sections import Benchmark

__all__ = ["Candidate", "benchmark", "compare"]


def benchmark(
    recipe: Recipe,
    teacher_onnx: OnnxModels | None,
    onnx: OnnxModels,
    teacher: TorchModel,
    student: TorchModel,
    data: PreparedData,
    *members: Any,
    ctx: Context,
) -> Measurements:
    """Every exported file against the test split; see `compare` for what the measurements hold.

    members: of several teachers, whose common answers `teacher` holds, ONNX file (or None), model and data of each.
    """
    facts = {"teacher": teacher.details.get("facts", {}), "student": student.details.get("facts", {})}
    models, told = {}, None
    if teacher_onnx:
        inputs, file = model_inputs(teacher, data, teacher=True), teacher_onnx.file("teacher.onnx")
        models["teacher"] = Candidate(file, "teacher", "fp32", teacher_onnx.details["parameters"], inputs, facts=facts["teacher"])
    else:
        told = {"file": str(teacher.file("answers-test.npy").resolve()), "facts": facts["teacher"]}
    for number in range(1, len(members) // 3 + 1):
        exported, one, read = members[3 * number - 3 : 3 * number]
        if exported:
            file, inputs = exported.file("teacher.onnx"), model_inputs(one, read, teacher=True)
            facts_of = one.details.get("facts", {})
            models[f"teacher_{number}"] = Candidate(file, "member", "fp32", exported.details["parameters"], inputs, facts=facts_of)
    inputs = model_inputs(student, data)
    for name, entry in onnx.details["files"].items():
        file, precision, target = onnx.file(entry["file"]), entry["precision"], entry.get("target")
        models[name] = Candidate(file, "student", precision, onnx.details["parameters"], inputs, target, facts=facts["student"])
    others, skipped = variants(models, recipe.benchmark.runtimes, onnx=onnx, data=data, out=ctx.out)
    models |= others
    for name, why in skipped.items():
        ctx.say(f"benchmark: {name} is not measured: {why}")
    assert student.io_spec and student.path
    runner = {"ports": student.io_spec.to_json()["inputs"], "folder": str(student.path.resolve())}
    measurements = compare(recipe.benchmark, models, data=data, ctx=ctx, told=told, runner=runner)
    measurements["skipped"] = skipped
    if known := teacher.metrics.get("validation_accuracy"):  # by torch; the exported file agreed with it
        measurements["models"]["teacher"]["validation"] = {"value": known["value"] / 100, "unit": "fraction", "samples": known["samples"]}
    with np.load(ctx.out / "predictions.npz") as stored:
        answers = {name: stored[f"model_{name}"] for name in measurements["models"]}
        pair_test(measurements["models"], answers, stored["rows"], data=data, heard=stored["heard"])
    inputs, split = model_inputs(student, data, split="validation"), data.split("validation")
    rows = select_rows(np.asarray(split.labels), None)
    files = {name: replace(models[name], inputs=inputs) for name in onnx.details["files"]}
    gains = {name: validate(model, data, rows, threads=ctx.threads) for name, model in files.items()}
    for name, scored in pair_validation(measurements["models"], gains, split, rows).items():
        measurements["models"][name]["validation"] = scored
    timed = {name: models[name] for name in timed_files(models)}
    shown = {"teacher": models["teacher"], **timed} if teacher_onnx else timed
    if lines := score_subsets(shown, data, threads=ctx.threads):
        measurements["subsets"] = lines
    if recipe.benchmark.robustness:
        from compress.stages.benchmark.robustness import score_attacked  # torch, for its gradients

        measurements["robustness"] = score_attacked(recipe.benchmark.robustness, timed, student, data, seed=ctx.seed, threads=ctx.threads)
        for line in measurements["robustness"]:
            shares = ", ".join(f"{name} {100 * one['value']:.2f} %" for name, one in line["accuracy"].items())
            ctx.say(f"benchmark: images changed by up to {line['epsilon']} levels: {shares}")
    (ctx.out / "measurements.json").write_text(json.dumps(measurements, indent=1, allow_nan=False))
    for name, model in measurements["models"].items():
        ctx.say(f"benchmark: {name:<24} {describe(model)}")
    return Measurements(metrics={name: m["accuracy"] for name, m in measurements["models"].items()})


def variants(
    models: dict[str, Candidate], runtimes: Sequence[str], *, onnx: OnnxModels, data: PreparedData, out: Path
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """The fp32 student and the best int8 one that this machine can time, in each of the other runtimes: {"fp32@openvino": ...}; and those
    that a runtime does not take, with its reason.

    LiteRT has an fp32 file alone.
    """
    made: dict[str, Candidate] = {}
    skipped: dict[str, str] = {}
    names = timed_files(models)
    for runtime in runtimes:
        for name in names[:1] if runtime == "litert" else names:
            try:
                made[f"{name}@{runtime}"] = in_runtime(name, models[name], runtime, onnx=onnx, data=data, out=out)
            except (CompressError, DeviceError) as error:
                skipped[f"{name}@{runtime}"] = str(error)
    return made, skipped


def in_runtime(name: str, model: Candidate, runtime: str, *, onnx: OnnxModels, data: PreparedData, out: Path) -> Candidate:
    """The model `name` as another runtime takes it. Raises CompressError or DeviceError where it does not."""
    changed: dict[str, Any] = {"runtime": runtime}
    if runtime == "ort_format":
        test = data.split("test")
        feeds = gather_feeds(model, test, np.arange(min(32, len(test))), names=open_candidate(model, 1).inputs)
        target = "arm" if local_target() == "onnxruntime_arm" else "amd64"
        changed = {"path": to_ort_format(model.path, out / "ort_format", target=target, feeds=feeds).model}
    if runtime == "litert":
        changed["path"] = onnx.file("mobile/fp32.tflite")
    variant = replace(model, role="variant", of=name, **changed)
    open_candidate(variant, 1)
    return variant


def validate(model: Candidate, data: PreparedData, rows: np.ndarray, *, threads: int) -> np.ndarray:
    """(R,) how good the file's answers are to rows of the validation split, which is what a choice may look at."""
    split, task = data.split("validation"), data.task.with_facts(model.facts)
    answers = answer(score(model, split, rows, threads=threads), task, outputs=data.outputs, name=str(model.path))
    return task.gains(answers, np.asarray(split.labels)[rows])


def model_inputs(model: TorchModel, data: PreparedData, *, split: str = "test", teacher: bool = False) -> dict[str, np.ndarray]:
    """The distinct inputs of a split as the model's ports take them, by modality: (N_m, ...)."""
    assert model.io_spec
    part = data.split(split)
    given = part.teacher_inputs if teacher else part.inputs
    return {p.name: modality(p.name).arrays(given[p.name], p, model.path).astype(p.dtype, copy=False) for p in model.io_spec.inputs}


def describe(model: dict[str, Any]) -> str:
    """One line: accuracy, size, latency."""
    latency = (model["latency"] or {}).get("1")
    speed = f"{latency['median_ms']:.3f} ms" if latency else "not timed here"
    accuracy, size = model["accuracy"]["value"], model["size"]["value"]
    if size is None:
        return (
            f"{f'{100 * accuracy:.2f} % of the rows that it answered' if accuracy is not None else 'no answers'}; stored answers, no file"
        )
    heads = ", ".join(f"{name} {100 * head['accuracy']['value']:.2f}" for name, head in model.get("heads", {}).items())
    return f"{100 * accuracy:.2f} %{f' ({heads})' if heads else ''}  {size / 1e6:8.2f} MB  {speed}"


def compare(
    config: Benchmark,
    models: dict[str, Candidate],
    *,
    data: PreparedData,
    ctx: Context,
    told: dict[str, Any] | None = None,
    runner: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The measurements (see `measure`), also written to measurements.json in `ctx.out` beside predictions.npz.

    Needs exactly one teacher in `models`, or `told`: the file with a teacher's answers to all test rows, and the facts of its task. runner:
    {ports, folder} of the student, for what a device does around it; None: that is not timed.
    Raises CompressError when a file is missing, cannot be opened or answers in a wrong shape."""
    if [model.role for model in models.values()].count("teacher") + bool(told) != 1:
        raise CompressError(f"benchmark: needs exactly one teacher among {', '.join(models) or 'no models'}")
    missing = [f"{name}: {model.path}: no such model file" for name, model in models.items() if not model.path.is_file()]
    if missing:
        raise CompressError("benchmark: " + "; ".join(missing) + "; run the export again")
    job, result = ctx.out / "job.json", ctx.out / "measurements.json"
    settings = {"seed": ctx.seed, "score_threads": ctx.threads, "teacher": told, "runner": runner}
    _write_job(job, config, models, data=data, settings=settings)
    _run_process(["-m", "compress.stages.benchmark", str(job.resolve()), str(result.resolve())], say=ctx.say)
    return json.loads(result.read_text())


def _write_job(job: Path, config: Benchmark, models: dict[str, Candidate], *, data: PreparedData, settings: dict[str, Any]) -> None:
    """job.json, which names what lies beside it by its relative path, so that it can be run again where the folder ends up, and other
    models, data and inputs by absolute ones; an input that lies in no file gets one beside it, shared by its models."""
    folder = job.parent.resolve()
    files: dict[int, str] = {}
    for model in models.values():
        for name, array in model.inputs.items():
            if id(array) not in files:
                files[id(array)] = _file_of(array) or f"inputs_{len(files)}_{name}.npy"
                if not _file_of(array):
                    np.save(folder / files[id(array)], array)
    keys = ("role", "precision", "parameters", "target", "runtime", "facts", "of")
    entries = {
        name: {key: getattr(model, key) for key in keys}
        | {"path": _place(model.path, folder), "inputs": {m: files[id(array)] for m, array in model.inputs.items()}}
        for name, model in models.items()
    }
    asked = config.model_dump(include={"batches", "threads", "rounds", "precision", "seconds", "warmup", "test_limit"})
    where = {"data": str(Path(data.path).resolve()), "models": entries, "plugins": loaded_plugins()}
    job.write_text(json.dumps({**asked, **settings, **where}, indent=1))


def _place(path: Path, folder: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _file_of(array: np.ndarray) -> str | None:
    """The .npy file that an array maps whole."""
    return str(array.filename) if isinstance(array, np.memmap) and array.filename else None


def _run_process(arguments: list[str], *, say: Callable[[str], None]) -> None:
    """Runs this Python with `arguments`, passing its lines on; its last error line becomes the message of a CompressError."""
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            for line in child.stdout or ():
                say(f"benchmark: {line.rstrip()}")
        if child.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"the process ended with {child.returncode}"]
            raise CompressError(f"benchmark: {lines[-1]}\n  repeat it with: python {' '.join(arguments)}")
