"""A planted slow-down of 5 % is found, and one of nothing is not: how often, of repeated measurements of one file against itself.

    python benchmarks/decisions.py runs/mobile_vqa      writes results/decisions/RUN.json
    python benchmarks/decisions.py --publish            puts the table into its document

In turns, batch 1, one thread: a session of the shipped file; a second session of it; a third one whose calls wait for a share of the first one's
median on top. A slow-down is told where the 99 % interval of the median ratio, call by call, lies above 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import markdown_table, origin, origin_line, run_on_a_run, run_program

from compress.device.bundle import open_model
from compress.device.predictor import Predictor
from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.listing import find_bundle

REPEATS, ROUNDS, PLANTED, LEVEL = 20, 200, 0.05, 0.99
PILOT = Effort(rounds=100, warmup=20)


def measure(target: str) -> dict[str, Any]:
    """The result for the bundle of a run."""
    predictor = Predictor(find_bundle(target, runs=Path("runs")))
    feeds = {name: array[:1] for name, array in predictor.samples().items()}
    names = ("file", "itself", "slower")
    sessions = {name: open_model(predictor.bundle, predictor.model, runtime="onnxruntime_cpu", threads=1) for name in names}
    calls: dict[str, Callable[[], None]] = {name: _call(session, feeds) for name, session in sessions.items()}
    pilot = time_calls({"file": calls["file"]}, PILOT)
    wait = PLANTED * float(np.median(pilot.ns["file"]))
    calls["slower"] = _slowed(calls["slower"], wait)
    repeats = []
    for seed in range(REPEATS):
        timed = time_calls(calls, Effort(rounds=ROUNDS), seed=seed)
        ratios = {name: ratio_interval(timed.ns[name], timed.ns["file"], level=LEVEL) for name in names[1:]}
        repeats.append({"noise": timed.noise, **ratios})
    return {
        **origin(threads=1, libraries=("onnxruntime", "numpy")),
        "run": target.rstrip("/").rsplit("/", 1)[-1],
        "model": predictor.model.name,
        "median_ms": summarise(pilot.ns["file"])["median_ms"],
        "planted": PLANTED,
        "level": LEVEL,
        "rounds": ROUNDS,
        "repeats": repeats,
    }


def _call(session: Any, feeds: dict[str, np.ndarray]) -> Callable[[], None]:
    chosen = {name: feeds[name] for name in session.inputs}
    return lambda: session.run(chosen)


def _slowed(call: Callable[[], None], wait_ns: float) -> Callable[[], None]:
    def slowed() -> None:
        call()
        end = time.perf_counter_ns() + wait_ns
        while time.perf_counter_ns() < end:
            pass

    return slowed


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The table by the name of its markers."""
    return {"decisions": table(results)}


def table(results: Sequence[dict[str, Any]]) -> str:
    """Two lines a result: the slowed session and the one that is the same."""
    lines = []
    for result in results:
        for name, planted in (("slower", result["planted"]), ("itself", 0.0)):
            ratios = [repeat[name] for repeat in result["repeats"]]
            told = sum(ratio["low"] > 1 for ratio in ratios)
            values, width = [ratio["value"] for ratio in ratios], np.median([(r["high"] - r["low"]) / 2 for r in ratios])
            spread = f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            lines.append([result["run"], f"{100 * planted:.0f} %", f"{told} of {len(ratios)}", spread, f"± {width:.3f}"])
    head = ["one file", "planted", "told to be slower", "ratio, median and range", "half of the interval"]
    noise = "; ".join(
        f"{r['run']}: {r['median_ms']:.3f} ms, {r['rounds']} rounds, {100 * r['level']:.0f} % intervals, spread of the reference "
        f"{100 * min(x['noise'] for x in r['repeats']):.0f} to {100 * max(x['noise'] for x in r['repeats']):.0f} %"
        for r in results
    )
    return "\n".join([markdown_table(head, lines), "", f"{noise}.", "", origin_line(results, "onnxruntime")])


def main() -> None:
    """The command line."""
    run_on_a_run(__doc__, "decisions", measure, table)


if __name__ == "__main__":
    run_program(main)
