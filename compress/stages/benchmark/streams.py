"""Answers a second where several callers ask one session at once, and the energy of an answer where the processor tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.energy import Meter
from compress.device.sessions import REENTRANT
from compress.device.timing import ratio_interval
from compress.stages.benchmark.candidate import Candidate, cycling_call, open_candidate

if TYPE_CHECKING:
    from compress.data.prepared import Split

ROUNDS = 5  # slices of each model and number of streams, all of them taking turns
SECONDS = 3.0  # of all slices together
FEWEST_S = 0.03  # of a slice


def measure_streams(
    models: dict[str, Candidate], test: Split, rows: np.ndarray, *, cores: int, seed: int, meter: Meter
) -> dict[str, list[dict[str, Any]]]:
    """{name: [{streams, answers_per_s, over_one, joules}]} at batch 1: `streams` threads ask one session that computes each answer with one
    thread; 1, 2, 4, ... up to `cores`.

    answers_per_s: median over ROUNDS, with the smallest and the largest; over_one: the ratio to one stream, round by round; joules: of an
    answer, None where `meter` reads nothing, and of streams that share the processor's idle part. Models whose runtime holds one call's state are left out.
    """
    able = {name: model for name, model in models.items() if model.runtime in REENTRANT}
    counts = stream_counts(cores)
    calls = {name: cycling_call(open_candidate(model, 1), model, test, picks=rows[:64, None]) for name, model in able.items()}
    turns = [(name, streams) for name in able for streams in counts]
    slice_s = max(FEWEST_S, SECONDS / (ROUNDS * max(1, len(turns))))
    order = np.random.default_rng(seed)
    found: dict[tuple[str, int], list[tuple[float, float | None]]] = {turn: [] for turn in turns}
    with ThreadPoolExecutor(max(counts)) as pool:
        for call in calls.values():
            _slice([call] * max(counts), FEWEST_S, pool, meter)  # warm
        for _ in range(ROUNDS):
            for place in order.permutation(len(turns)):
                name, streams = turns[place]
                found[name, streams].append(_slice([calls[name]] * streams, slice_s, pool, meter))
    return {name: [_describe(streams, found[name, streams], found[name, 1]) for streams in counts] for name in able}


def stream_counts(cores: int) -> list[int]:
    """1, 2, 4, ... below `cores`, and `cores`."""
    return sorted({1, cores} | {2**k for k in range(cores.bit_length()) if 2**k < cores})


def _slice(calls: Sequence[Callable[[], None]], seconds: float, pool: ThreadPoolExecutor, meter: Meter) -> tuple[float, float | None]:
    """(answers a second of all callers together, joules an answer)."""
    before, until = meter.read(), time.perf_counter() + seconds

    def ask(call: Callable[[], None]) -> tuple[int, float]:
        begun, count = time.perf_counter(), 0
        while not count or time.perf_counter() < until:
            call()
            count += 1
        return count, time.perf_counter() - begun

    asked = list(pool.map(ask, calls))
    joules = meter.joules(before, meter.read()) / sum(count for count, _ in asked) if meter.packages else None
    return sum(count / spent for count, spent in asked), joules


def _describe(streams: int, found: list[tuple[float, float | None]], one: list[tuple[float, float | None]]) -> dict[str, Any]:
    rates = np.array([rate for rate, _ in found])
    joules = [value for _, value in found if value is not None]
    spread = {"low": float(rates.min()), "high": float(rates.max()), "samples": len(rates)}
    return {
        "streams": streams,
        "answers_per_s": {"value": float(np.median(rates)), "unit": "1/s", **spread},
        "over_one": ratio_interval(rates, np.array([rate for rate, _ in one])) if streams > 1 else None,
        "joules": {"value": float(np.median(joules)), "unit": "J", "samples": len(joules)} if joules else None,
    }
