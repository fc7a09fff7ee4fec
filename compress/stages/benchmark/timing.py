"""Latency of all files side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.stages.benchmark.candidate import Candidate, cycling_call, open_candidate

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
    shippable = [
        name for name, model in models.items() if model.role != "variant"
    ]  # of the others, times alone need be known as well as asked
    ratios = [(other, name) if key == "teacher_over_this" else (name, other) for key, other in references.items() for name in shippable]
    for batch in job["batches"]:
        print(f"timing {len(models)} models at batch {batch}, at most {effort.rounds} rounds", flush=True)
        picks = draw.choice(rows, (TIMED_FEEDS, batch))
        calls = {name: cycling_call(sessions[name], models[name], test, picks=picks) for name in models}
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
