"""Latency of all files side by side, and the memory and the cold start of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.sessions import Session, open_session
from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.stages.benchmark.candidate import Candidate, gather_feeds, open_candidate

if TYPE_CHECKING:
    from compress.data.prepared import Split

TIMED_FEEDS = 16  # different batches of real samples that the timed calls go through


def time_models(
    models: dict[str, Candidate], test: Split, rows: np.ndarray, *, job: dict[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """{name: {batch: statistics in ms, with the paired ratios to the teacher and to the fp32 student}}; all models take turns. And
    {batch: how it was timed, and how quiet the machine was}."""
    sessions = {name: open_candidate(model, job["threads"]) for name, model in models.items()}
    draw = np.random.default_rng(job["seed"])
    table: dict[str, dict[str, Any]] = {name: {} for name in models}
    effort, told = Effort(job["rounds"], job["warmup"], job["seconds"], job["precision"]), {}
    references = _references(models)
    ratios = [(other, name) if key == "teacher_over_this" else (name, other) for key, other in references.items() for name in models]
    for batch in job["batches"]:
        print(f"timing {len(models)} models at batch {batch}, at most {effort.rounds} rounds", flush=True)
        picks = draw.choice(rows, (TIMED_FEEDS, batch))
        calls = {name: _cycling_call(sessions[name], models[name], test, picks=picks) for name in models}
        timed = time_calls(calls, effort, ratios=ratios, seed=job["seed"])
        for name, ns in timed.ns.items():
            entry = {**summarise(ns), "unit": "ms", "batch": batch, "threads": job["threads"], "ended": timed.ended[name]}
            for key, other in references.items():
                pair = (timed.ns[other], ns) if key == "teacher_over_this" else (ns, timed.ns[other])
                entry[key] = ratio_interval(*pair)
            table[name][str(batch)] = entry
        told[str(batch)] = timed.to_json()
    return table, told


def _references(models: dict[str, Candidate]) -> dict[str, str]:
    roles = {(model.role, model.precision): name for name, model in models.items()}
    names = {"teacher_over_this": ("teacher", "fp32"), "this_over_fp32": ("student", "fp32")}
    return {key: roles[role] for key, role in names.items() if role in roles}


def _cycling_call(session: Session, model: Candidate, test: Split, *, picks: np.ndarray) -> Callable[[], None]:
    feeds = cycle([gather_feeds(model, test, rows, names=session.inputs) for rows in picks])  # gathered before the clock starts

    def call() -> None:
        session.run(next(feeds))

    return call


def start_afresh(models: dict[str, Candidate], test: Split, rows: np.ndarray, *, threads: int) -> dict[str, dict[str, Any]]:
    """{name: {peak_memory, cold_start}} of a fresh process that opens the file and answers 3 times at batch 1: its largest resident memory in
    bytes, and the ms from its start to the first answer, measured once; Python, numpy and the runtime are part of both."""
    if not Path("/proc/self/status").exists():  # only Linux tells a process its own high-water mark, free of its parent's
        return {name: {"peak_memory": None, "cold_start": None} for name in models}
    found: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        feeds = gather_feeds(model, test, rows[:1], names=open_candidate(model, 1).inputs)
        started = time.monotonic()  # one clock for all processes of a Linux machine
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peak, answered = pool.submit(_open_and_answer, model.path, model.runtime, feeds, threads).result()
        told = {"batch": 1, "includes": "python, numpy and the runtime"}
        cold = {"value": 1000 * (answered - started), "unit": "ms", "samples": 1, **told}
        found[name] = {"peak_memory": {"value": peak, "unit": "bytes", **told}, "cold_start": cold}
    return found


def _open_and_answer(path: Path, runtime: str, feeds: dict[str, np.ndarray], threads: int) -> tuple[int, float]:
    session = open_session(path, runtime=runtime, threads=threads)
    session.run(feeds)
    answered = time.monotonic()
    for _ in range(2):
        session.run(feeds)
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024, answered  # the kernel says kB and means KiB
