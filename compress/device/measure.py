"""Latency on this device: every model of a bundle on real samples, side by side, and `measurements.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import open_model, read_inputs
from .contents import BundleFolder, Model
from .errors import DeviceError
from .info import describe_device, read_sensors
from .manifest import read_manifest
from .sessions import runtime_version
from .timing import Effort, summarise, time_calls

SCHEMA = 1
MEASUREMENTS = "measurements.json"


def bench(
    bundle: BundleFolder,
    models: list[Model],
    *,
    batches: list[int],
    rounds: int,
    warmup: int,
    threads: int,
    runtime: str,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measurements of the models on real samples, interleaved, also written to `out` (default: measurements.json in the bundle); how they are
    timed is in `time_calls`.

    Sensors are read before and after, because a figure from a throttled device says little. Raises DeviceError for a batch that the
    model does not take, a runtime that cannot run here, or a place that cannot be written.
    """
    for batch in batches:
        if not 1 <= batch <= bundle.max_batch:
            raise DeviceError(f"batch {batch} is outside 1 to {bundle.max_batch}, which this model takes; change --batches")
    samples = read_inputs(bundle)
    sessions, load_ms = {}, {}
    for model in models:
        start = time.perf_counter_ns()
        sessions[model.name] = open_model(bundle, model, runtime=runtime, threads=threads)
        load_ms[model.name] = (time.perf_counter_ns() - start) / 1e6
    files = read_manifest(bundle.folder)["files"]  # each model was compared with it when it was opened
    before, lines, timing = read_sensors(), [], []
    for batch in batches:
        feeds = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in samples.items()}  # repeats the samples
        timed = time_calls({name: _call(session, feeds) for name, session in sessions.items()}, Effort(rounds, warmup))
        lines += [_line(model, batch, timed.ns[model.name], load_ms[model.name], files[model.file]) for model in models]
        timing.append({"batch": batch, **timed.to_json()})
    result = {
        "schema": SCHEMA,
        "kind": "measurements",
        "bundle": bundle.identity,
        "device": describe_device(),
        "runtime": {"name": runtime, "version": runtime_version(runtime)},
        "threads": threads,
        "timing": timing,
        "sensors": {"before": before, "after": read_sensors()},
        "measurements": lines,
    }
    _write(out or bundle.folder / MEASUREMENTS, result)
    return result


def _line(model: Model, batch: int, ns: np.ndarray, load_ms: float, file: dict[str, Any]) -> dict[str, Any]:
    summary = summarise(ns)
    rate = 1000 * batch / summary["median_ms"]
    what = {"model": model.name, "precision": model.precision, "sha256": file["sha256"], "size_bytes": file["size"], "batch": batch}
    return {**what, **summary, "samples_per_s": rate, "load_ms": load_ms}


def _call(session: Any, feeds: dict[str, np.ndarray]) -> Callable[[], None]:
    chosen = {name: feeds[name] for name in session.inputs}
    return lambda: session.run(chosen)


def _write(path: Path, result: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DeviceError(f"{path}: cannot be written ({error.strerror}); give another place with --out") from error
