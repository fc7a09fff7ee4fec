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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.artifacts import Measurements, OnnxModels, TorchModel
from compress.errors import CompressError
from compress.graphs.ort_format import to_ort_format
from compress.stages.benchmark.candidate import Candidate, gather_feeds, local_target, open_candidate
from compress.stages.benchmark.quality import answer, score, select_rows, share

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.recipe import Benchmark, Recipe

__all__ = ["Candidate", "benchmark", "compare"]


def benchmark(
    recipe: Recipe,
    teacher_onnx: OnnxModels,
    onnx: OnnxModels,
    teacher: TorchModel,
    student: TorchModel,
    data: PreparedData,
    *,
    ctx: Context,
) -> Measurements:
    """Every exported file against the test split; see `compare` for what the measurements hold."""
    sees: Literal["image", "teacher_image"] = "image" if data.split("test").teacher_image is None else "teacher_image"
    parameters = teacher_onnx.details["parameters"]
    tokens = tokens_of(teacher, data)
    models = {"teacher": Candidate(teacher_onnx.file("teacher.onnx"), "teacher", "fp32", parameters, sees, tokens)}
    tokens = tokens_of(student, data)
    for name, entry in onnx.details["files"].items():
        file, precision, target = onnx.file(entry["file"]), entry["precision"], entry.get("target")
        models[name] = Candidate(file, "student", precision, onnx.details["parameters"], "image", tokens, target)
    models |= variants(models, recipe.benchmark.runtimes, onnx=onnx, data=data, out=ctx.out)
    measurements = compare(recipe.benchmark, models, data=data, ctx=ctx)
    known = teacher.metrics["validation_accuracy"]  # by torch; the exported file agreed with it
    measurements["models"]["teacher"]["validation"] = {"value": known["value"] / 100, "unit": "fraction", "samples": known["samples"]}
    tokens = tokens_of(student, data, split="validation")
    for name in onnx.details["files"]:
        measurements["models"][name]["validation"] = score_validation(replace(models[name], tokens=tokens), data, threads=ctx.threads)
    (ctx.out / "measurements.json").write_text(json.dumps(measurements, indent=1, allow_nan=False))
    for name, model in measurements["models"].items():
        ctx.say(f"benchmark: {name:<24} {describe(model)}")
    return Measurements(metrics={name: m["accuracy"] for name, m in measurements["models"].items()})


def variants(
    models: dict[str, Candidate], runtimes: Sequence[str], *, onnx: OnnxModels, data: PreparedData, out: Path
) -> dict[str, Candidate]:
    """The fp32 student and the best int8 one that this machine can time, in each of the other runtimes: {"fp32@openvino": ...}.

    LiteRT has an fp32 file alone.
    """
    test, made = data.split("test"), {}
    here = {m.precision: name for name, m in models.items() if m.role == "student" and m.target in (None, local_target())}
    names = [here["fp32"], *[here[precision] for precision in ("int8_qat", "int8_ptq") if precision in here][:1]]
    for runtime in runtimes:
        for name in names[:1] if runtime == "litert" else names:
            model = models[name]
            changed: dict[str, Any] = {"runtime": runtime}
            if runtime == "ort_format":
                rows = np.arange(min(32, len(test)))
                feeds = gather_feeds(model, test, rows, names=open_candidate(model, 1).inputs)
                target = "arm" if local_target() == "onnxruntime_arm" else "amd64"
                changed = {"path": to_ort_format(model.path, out / "ort_format", target=target, feeds=feeds).model}
            if runtime == "litert":
                changed["path"] = onnx.file("mobile/fp32.tflite")
            made[f"{name}@{runtime}"] = replace(model, role="variant", of=name, **changed)
    return made


def score_validation(model: Candidate, data: PreparedData, *, threads: int) -> dict[str, Any]:
    """The share of right answers on the validation split, which is what a choice may look at."""
    split = data.split("validation")
    rows = select_rows(np.asarray(split.labels), None)
    answers = answer(score(model, split, rows, threads=threads), len(data.labels), name=str(model.path))
    return share(answers == np.asarray(split.labels)[rows])


def tokens_of(model: TorchModel, data: PreparedData, *, split: str = "test") -> np.ndarray | None:
    """(M, T) tokens of the distinct texts of a split in that model's own vocabulary; None without text."""
    from compress.data.tokens import tokenize

    assert model.io_spec
    if "text" not in model.io_spec.modalities:
        return None
    return tokenize(model.file("tokenizer.json"), data.split(split).inputs["text"], model.io_spec.input("text").shape[0])


def describe(model: dict[str, Any]) -> str:
    """One line: accuracy, size, latency."""
    latency = (model["latency"] or {}).get("1")
    speed = f"{latency['median_ms']:.3f} ms" if latency else "not timed here"
    return f"{100 * model['accuracy']['value']:.2f} %  {model['size']['value'] / 1e6:8.2f} MB  {speed}"


def compare(config: Benchmark, models: dict[str, Candidate], *, data: PreparedData, ctx: Context) -> dict[str, Any]:
    """The measurements (see `measure`), also written to measurements.json in `ctx.out` beside predictions.npz.

    Needs exactly one teacher in `models`. Raises CompressError when a file is missing, cannot be opened or answers in a wrong shape."""
    if [model.role for model in models.values()].count("teacher") != 1:
        raise CompressError(f"benchmark: needs exactly one teacher among {', '.join(models) or 'no models'}")
    missing = [f"{name}: {model.path}: no such model file" for name, model in models.items() if not model.path.is_file()]
    if missing:
        raise CompressError("benchmark: " + "; ".join(missing) + "; run the export again")
    job, result = ctx.out / "job.json", ctx.out / "measurements.json"
    _write_job(job, config, models, data=data, seed=ctx.seed, score_threads=ctx.threads)
    _run_process(["-m", "compress.stages.benchmark", str(job.resolve()), str(result.resolve())], say=ctx.say)
    return json.loads(result.read_text())


def _write_job(job: Path, config: Benchmark, models: dict[str, Candidate], *, data: PreparedData, seed: int, score_threads: int) -> None:
    """job.json with absolute model and data paths, and the tokens beside it: models that share an array share its file."""
    files: dict[int, str] = {}
    entries = {}
    for name, model in models.items():
        if model.tokens is not None and id(model.tokens) not in files:
            files[id(model.tokens)] = f"tokens_{len(files)}.npy"
            np.save(job.parent / files[id(model.tokens)], model.tokens)
        entries[name] = {
            **{key: getattr(model, key) for key in ("role", "precision", "parameters", "image_key", "target", "runtime", "of")},
            "path": str(Path(model.path).resolve()),
            "tokens": None if model.tokens is None else files[id(model.tokens)],
        }
    settings = config.model_dump(include={"batches", "threads", "rounds", "warmup", "test_limit"})
    settings |= {"seed": seed, "score_threads": score_threads, "data": str(Path(data.path).resolve()), "models": entries}
    job.write_text(json.dumps(settings, indent=1))


def _run_process(arguments: list[str], *, say: Callable[[str], None]) -> None:
    """Runs this Python with `arguments`, passing its lines on; its last error line becomes the message of a CompressError."""
    root = Path(__file__).parents[3]  # as working directory it makes a checkout importable that nobody installed
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen([sys.executable, *arguments], cwd=root, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            for line in child.stdout or ():
                say(f"benchmark: {line.rstrip()}")
        if child.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"the process ended with {child.returncode}"]
            raise CompressError(f"benchmark: {lines[-1]}\n  repeat it with: python {' '.join(arguments)}")
