"""A finished run's folder for tests of pages about runs: one test text a row, answers as they are given, sizes and times made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from compress.modalities.tokens import write_texts
from compress.reporting.choice import choose_precision
from compress.reporting.summary import summarise_run

LABELS = ["no", "yes"]


def write_run(folder: Path, *, right: dict[str, list[bool]], identity: str = "a", recipe: dict | None = None, texts: str = "row") -> Path:
    """The folder of a run whose files `teacher`, `fp32` and `int8_qat` have these test rows right (R,); the label of every row is yes."""
    count = len(right["teacher"])
    _write_data(folder / "1-data", count, identity=identity, texts=texts)
    answers = {name: np.asarray(hits, np.int16) for name, hits in right.items()}
    (folder / "10-benchmark").mkdir()
    np.savez(folder / "10-benchmark" / "predictions.npz", rows=np.arange(count), **{f"model_{name}": a for name, a in answers.items()})
    measurements = _measurements(right)
    (folder / "10-benchmark" / "measurements.json").write_text(json.dumps(measurements))
    choice = choose_precision(measurements, target="onnxruntime_x86", max_drop_points=100)
    summary = summarise_run(measurements, choice, name=folder.name, stages=[])
    (folder / "summary.json").write_text(json.dumps(summary))
    if recipe is not None:
        (folder / "12-bundle" / "bundle").mkdir(parents=True)
        (folder / "12-bundle" / "bundle" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def _write_data(folder: Path, count: int, *, identity: str, texts: str) -> None:
    (folder / "test").mkdir(parents=True)
    write_texts(folder / "test" / "text.arrow", pa.array([f"{texts} {i}" for i in range(count)]))
    numbers = {"labels": np.ones(count), "kinds": np.zeros(count), "groups": np.full(count, -1), "rows_text": np.arange(count)}
    for name, values in numbers.items():
        np.save(folder / "test" / f"{name}.npy", values.astype(np.int32))
    np.save(folder / "test" / "near_train.npy", np.zeros(count, bool))
    report = {"modalities": ["text"], "task": "single_label", "teacher_apart": [], "identity": identity}
    for name, value in {"labels": LABELS, "kinds": ["colour|shape"], "slices": {}, "report": report}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def _measurements(right: dict[str, list[bool]]) -> dict[str, Any]:
    from compress.measures.paired import compare_paired
    from compress.stages.benchmark.quality import share

    hits = {name: np.asarray(values, bool) for name, values in right.items()}
    sizes, times = {"teacher": 100e6, "fp32": 1e6, "int8_qat": 0.5e6}, {"teacher": 10.0, "fp32": 0.5, "int8_qat": 0.4}
    models: dict[str, Any] = {}
    for name, found in hits.items():
        against = {"against_teacher": compare_paired(found, hits["teacher"]).to_json()} if name != "teacher" else {}
        against |= {"against_fp32": compare_paired(found, hits["fp32"]).to_json()} if name == "int8_qat" else {}
        ratios = {"teacher_over_this": times["teacher"] / times[name], "this_over_fp32": times[name] / times["fp32"]}
        latency = {"median_ms": times[name], "p95_ms": 2 * times[name], "low_ms": times[name], "high_ms": times[name]}
        latency |= {key: {"value": value, "low": value, "high": value} for key, value in ratios.items()}
        models[name] = {
            "role": "teacher" if name == "teacher" else "student",
            "precision": "int8_qat" if name == "int8_qat" else "fp32",
            "target": None,
            "runtime": "onnxruntime 1",
            "size": {"value": sizes[name]},
            "parameters": {"value": 1000},
            "accuracy": {**share(found), **against},
            "metrics": {},
            "agreement": {"value": 0.9},
            "non_finite": {"value": 0},
            "peak_memory": {"value": 80e6},
            "cold_start": {"value": 300.0},
            "latency": {"1": latency},
            "by_kind": [{"name": "colour|shape", **share(found)}],
            "by_answer": [{"name": "yes", **share(found)}],
            "by_slice": {"site": [{"name": "Oslo|Bergen", **share(found)}]},
        }
    described = {"device": {"name": "AMD EPYC", "runtime": "onnxruntime 1"}, "target": "onnxruntime_x86", "threads": 1}
    task = {"name": "single_label", "measure": "accuracy", "constant": "the commonest answer"}
    return {**described, "task": task, "samples": len(right["teacher"]), "models": models, "baselines": {}}
