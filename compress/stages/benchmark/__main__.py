"""The benchmark's own process: job.json in, measurements.json out, predictions.npz beside the job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData, open_data
from compress.device.energy import Meter
from compress.device.errors import DeviceError
from compress.device.info import describe_device, has_vnni
from compress.device.sessions import runtime_version
from compress.device.timing import Effort
from compress.errors import CompressError
from compress.graphs.diverge import compare_outputs
from compress.measures.labels import describe_labels
from compress.stages.benchmark.around import LIMIT_S, time_around
from compress.stages.benchmark.candidate import Candidate, gather_feeds, load_candidate, local_target, timed_files
from compress.stages.benchmark.fresh import start_afresh
from compress.stages.benchmark.heads import describe_heads
from compress.stages.benchmark.profile import measure_peaks, profile
from compress.stages.benchmark.quality import answer, count_differing, describe_baselines, describe_quality, number, select_rows
from compress.stages.benchmark.scoring import score
from compress.stages.benchmark.streams import measure_streams
from compress.stages.benchmark.timing import time_models
from compress.stages.benchmark.told import describe_told
from compress.tables import load_plugins
from compress.tasks.task import Task

SCHEMA_VERSION = 1


def measure(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs a job (job.json, as the stage writes it) here and now; writes predictions.npz to `folder`: for each model its answers (R, ...), and (R,) the
    probability that it gave to each, where the task has one (`model_NAME`, `p_NAME`); `rows` (R,) in the test split, and `heard` (R,), whether
    the teacher answered.

    Gives {schema_version, device, threads, task, labels, kinds, samples, timing, peaks, models: {name: {role, precision, size, parameters,
    accuracy, metrics, agreement, differs, by_answer, by_kind, by_slice, latency: {batch: ...}, profile, peak_memory, cold_start, ...}}, baselines};
    shares are fractions, latencies ms."""
    load_plugins(map(Path, job["plugins"]))
    device = describe_device()
    data = open_data(Path(job["data"]))
    test = data.split("test")
    rows = select_rows(np.asarray(test.labels), job["test_limit"])
    models = {name: load_candidate(entry, folder) for name, entry in job["models"].items()}
    result = {
        "schema_version": SCHEMA_VERSION,
        "command": "python -m compress.stages.benchmark job.json measurements.json",
        "device": {**device, "vnni": has_vnni(), "runtime": runtime_version("onnxruntime_cpu")},
        "target": local_target(),
        "threads": job["threads"],
        "task": {"name": data.task.name, "measure": data.task.measure, "constant": data.task.constant, "agreement": data.task.agreement},
        "labels": data.labels,
        "kinds": data.kinds,
        "samples": len(rows),
        "models": {name: describe_file(model) for name, model in models.items()},
        "baselines": describe_baselines(data, rows),
    }
    timed = {name: model for name, model in models.items() if model.target in (None, local_target())}
    by_model, machine = measure_speed(timed, data, rows, job=job, cores=device["cores"] or 1)
    result |= machine
    for name, speed in by_model.items():
        result["models"][name] |= speed
    answers, sure, kept = {}, {}, {}
    for name, model in models.items():
        print(f"scoring {name} on {len(rows)} samples", flush=True)
        logits = score(model, test, rows, threads=job["score_threads"])
        task = data.task.with_facts(model.facts)
        answers[name], sure[name] = answer(logits, task, outputs=data.outputs, name=name), task.sure(logits)
        result["models"][name] |= describe_quality(logits, answers[name], test, rows=rows, data=data, task=task)
        if task.heads:
            result["models"][name]["heads"] = describe_heads(logits, answers[name], np.asarray(test.labels)[rows], task=task)
        if model.of is None and task.one_of_many:
            temperature = model.facts.get("temperature", 1.0)
            closer = describe_labels(logits, np.asarray(test.labels)[rows], data.labels, temperature=temperature)
            result["models"][name] |= {"labels": closer} if closer else {}
        if any(other.of == name for other in models.values()):
            kept[name] = logits
        if model.of:
            result["models"][name]["parity"] = describe_parity(model.of, kept[model.of], logits, task=task)
    heard = np.ones(len(rows), bool)  # the rows that the teacher answered
    if told := job.get("teacher"):
        logits = np.load(told["file"])[rows]
        heard = np.isfinite(logits).all(axis=1)
        task = data.task.with_facts(told["facts"])
        answers["teacher"], sure["teacher"] = task.answers(logits), task.sure(logits)
        result["models"] = {"teacher": describe_told(logits, heard, test, rows=rows, data=data, facts=told["facts"]), **result["models"]}
    teacher = next(name for name, model in result["models"].items() if model["role"] == "teacher")
    labels, told_by = np.asarray(test.labels)[rows][heard], answers[teacher][heard]
    right = {name: data.task.right(found[heard], labels) for name, found in answers.items() if heard.any()}
    for name, found in answers.items():
        agreed = data.task.gains(found[heard], told_by)  # the teacher's answers taken for labels
        result["models"][name]["agreement"] = number(float(agreed.mean()) if heard.any() else np.nan, "fraction", int(heard.sum()))
        if name != teacher and heard.any():
            result["models"][name]["differs"] = count_differing(data.task.same(found[heard], told_by), right[teacher], right[name])
        if heard.any():
            beside = data.task.together(found[heard], told_by, labels)
            result["models"][name]["metrics"] |= {key: number(value, "fraction", int(heard.sum())) for key, value in beside.items()}
    arrays: dict[str, Any] = {f"model_{name}": value for name, value in answers.items()}
    arrays |= {f"p_{name}": p for name, p in sure.items() if p is not None}
    np.savez_compressed(folder / "predictions.npz", rows=rows, heard=heard, **arrays)
    return result


def measure_speed(
    models: dict[str, Candidate], data: PreparedData, rows: np.ndarray, *, job: dict[str, Any], cores: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """{name: {peak_memory, cold_start, latency, streams, profile}} of files that this machine can time, and {timing, energy, around, peaks}, which
    are of no one file."""
    test, threads = data.split("test"), job["threads"]
    found = start_afresh(models, test, rows, threads=threads)
    table, timing = time_models(models, test, rows, job=job)
    chosen, meter = timed_files(models), Meter()
    asked = {name: model for name, model in models.items() if model.role == "teacher" or name in chosen}
    streams = measure_streams(asked, test, rows, cores=cores, seed=job["seed"], meter=meter)
    machine: dict[str, Any] = {
        "timing": timing,
        "energy": {"packages": [*meter.packages], "why": meter.why},
        "peaks": measure_peaks(threads=threads),
    }
    if runner := job.get("runner"):
        settings: dict[str, Any] = {
            "ports": runner["ports"],
            "folder": Path(runner["folder"]),
            "effort": Effort(job["rounds"], job["warmup"], LIMIT_S),
        }
        machine["around"] = {"of": chosen[0], **time_around(models[chosen[0]], data, rows, seed=job["seed"], **settings)}
    for name, model in models.items():
        found[name] |= {"latency": table[name]} | ({"streams": streams[name]} if name in streams else {})
        if model.role == "student" and (latency := table[name].get("1")):
            feeds = gather_feeds(model, test, rows[:1], names=[*model.inputs])
            found[name]["profile"] = profile(model.path, feeds, threads=threads, median_ms=latency["median_ms"])
    return found, machine


def describe_file(model: Candidate) -> dict[str, Any]:
    """What is known of a file before it runs."""
    return {
        "role": model.role,
        "precision": model.precision,
        "target": model.target,
        "runtime": runtime_version(model.runtime),
        "file": model.path.name,
        "size": {"value": _size_on_disk(model.path), "unit": "bytes"},
        "parameters": {"value": model.parameters, "unit": "parameters"},
        "latency": None,  # stays so where the file's target is another machine
        "peak_memory": None,
        "cold_start": None,
    }


def describe_parity(name: str, expected: np.ndarray, logits: np.ndarray, *, task: Task) -> dict[str, Any]:
    """How far a variant is from the file `name` in ONNX Runtime, over the rows that are finite in both: logits (R, K)."""
    finite = np.isfinite(expected).all(1) & np.isfinite(logits).all(1)
    found = {"of": name, "samples": int(finite.sum()), **compare_outputs(expected[finite], logits[finite])}
    same = task.decisions(expected[finite])[1] == task.decisions(logits[finite])[1]
    return {**found, "agreement": float(same.mean()) if same.size else None}


def _size_on_disk(path: Path) -> int:
    external = path.with_name(path.name + ".data")  # where torch.onnx puts the weights of a large model
    return path.stat().st_size + (external.stat().st_size if external.exists() else 0)


def _main(job: Path, result: Path) -> None:
    try:
        measurements = measure(json.loads(job.read_text()), job.parent)
    except (CompressError, DeviceError) as error:
        sys.exit(str(error).replace("\n", "; "))
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(measurements, indent=1, allow_nan=False))
    partial.rename(result)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
