"""Latency on this device: interleaved calls, their median with an interval, and `measurements.json`."""

from __future__ import annotations

import gc
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

SCHEMA = 1
MEASUREMENTS = "measurements.json"
FEWEST = 10  # timed rounds of a function that is slow


def time_calls(
    functions: dict[str, Callable[[], None]], *, rounds: int, warmup: int, limit_s: float | None = None
) -> dict[str, np.ndarray]:
    """Durations of each function's calls, (rounds,) int64 nanoseconds by name, after `warmup` untimed rounds.

    limit_s: a function that has taken so many seconds sits out the rounds that are left, once it has FEWEST; a tenth of it ends its warm-up.

    Each round goes through all functions and starts with another one, so that a drift of the clock or the load meets all of them alike.
    A function is called twice and the second call is timed: the first one brings back into the caches what its neighbour pushed out, as
    a model that answers again and again finds it. (A model of 1 MB took twice its time right after one of 100 MB.)
    Garbage is collected before, not during the timed rounds.
    """
    if rounds < 1 or warmup < 0:
        raise DeviceError(f"rounds is {rounds} and warmup {warmup}; give at least 1 round and no negative warm-up")
    names = list(functions)
    times: dict[str, list[int]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0)  # nanoseconds, of all calls
    limit_ns = (limit_s or float("inf")) * 1e9
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(-warmup, rounds):
            first = number % len(names) if names else 0
            for name in names[first:] + names[:first]:
                if spent[name] > limit_ns / (1 if number >= 0 else 10) and (number < 0 or len(times[name]) >= FEWEST):
                    continue
                began = time.perf_counter_ns()
                functions[name]()
                start = time.perf_counter_ns()
                functions[name]()
                end = time.perf_counter_ns()
                spent[name] += end - began
                if number >= 0:
                    times[name].append(end - start)
    finally:
        if was_enabled:
            gc.enable()
    return {name: np.array(found, np.int64) for name, found in times.items()}


def summarise(ns: np.ndarray) -> dict[str, Any]:
    """median_ms, p95_ms, mean_ms, low_ms, high_ms and rounds of durations (rounds,) in nanoseconds.

    *Formula*: low and high are the order statistics with the ranks n/2 -+ 0.98 sqrt(n), a 95 % interval of the median that assumes no
    distribution (normal approximation of the binomial; for few rounds it is the whole range).
    """
    if not len(ns):
        raise DeviceError("no durations to summarise; time at least one round")
    ordered = np.sort(np.asarray(ns, dtype=np.float64)) / 1e6  # ms
    n, reach = len(ordered), 0.98 * len(ordered) ** 0.5
    low, high = max(0, int(np.floor(n / 2 - reach)) - 1), min(n - 1, int(np.ceil(n / 2 + reach)))
    return {
        "median_ms": float(np.median(ordered)),
        "p95_ms": float(np.percentile(ordered, 95)),
        "mean_ms": float(ordered.mean()),
        "low_ms": float(ordered[low]),
        "high_ms": float(ordered[high]),
        "rounds": n,
    }


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
    """Measurements of the models on real samples, interleaved, also written to `out` (default: measurements.json in the bundle).

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
    before, lines = read_sensors(), []
    for batch in batches:
        feeds = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in samples.items()}  # repeats the samples
        times = time_calls({name: _call(session, feeds) for name, session in sessions.items()}, rounds=rounds, warmup=warmup)
        lines += [_line(model, batch, times[model.name], load_ms[model.name], files[model.file]) for model in models]
    result = {
        "schema": SCHEMA,
        "kind": "measurements",
        "bundle": bundle.identity,
        "device": describe_device(),
        "runtime": {"name": runtime, "version": runtime_version(runtime)},
        "threads": threads,
        "warmup": warmup,
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
