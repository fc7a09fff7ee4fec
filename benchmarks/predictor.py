"""What `Predictor` costs over the session that it asks, and that eight threads get the answers of one, with memory flat.

    python benchmarks/predictor.py runs/mobile_vqa      writes results/predictor/RUN.json
    python benchmarks/predictor.py --publish            puts the table into its document

Timed in turns, batch 1, one thread: the session alone; `predict` of arrays in the form of the ports; `predict` of a file's content where the
bundle reads images; and a predictor that is opened for one answer and closed, as `run.py predict` does.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import markdown_table, origin, origin_line, run_on_a_run, run_program

from compress.device.bundle import open_model
from compress.device.predictor import Predictor
from compress.device.timing import Effort, summarise, time_calls
from compress.listing import find_bundle

ROUNDS, WARMUP, CALLS, THREADS = 1000, 50, 10_000, 8
ROWS = {
    "arrays": "`predict`, arrays",
    "files": "`predict`, a picture of 640x480 as JPEG and the rest as arrays",
    "opened": "open, ask, close",
}


def measure(target: str) -> dict[str, Any]:
    """The result for the bundle of a run."""
    folder = find_bundle(target, runs=Path("runs"))
    predictor = Predictor(folder).warm_up()
    session = open_model(predictor.bundle, predictor.model, runtime="onnxruntime_cpu", threads=1)
    samples = predictor.samples()
    rows = [{name: array[i] for name, array in samples.items()} for i in range(len(next(iter(samples.values()))))]
    feeds = {name: array[None] for name, array in rows[0].items()}
    calls = {"session": lambda: session.run(feeds), "arrays": lambda: predictor.predict(**rows[0])}
    if "image" in rows[0]:
        content = photograph()
        calls["files"] = lambda: predictor.predict(**{**rows[0], "image": content})
    times = time_calls(calls, Effort(ROUNDS, WARMUP)).ns
    times |= time_calls({"opened": lambda: _ask_once(folder, rows[0])}, Effort(20, 2)).ns
    over = (times["arrays"] - times["session"]) / 1e6  # a round's calls follow each other at once
    return {
        **origin(threads=1, libraries=("onnxruntime", "numpy", "pillow")),
        "run": target.rstrip("/").rsplit("/", 1)[-1],
        "model": predictor.model.name,
        "times": {name: summarise(ns) for name, ns in times.items()},
        "over_session_ms": {"median": float(np.median(over)), "p95": float(np.percentile(over, 95)), "rounds": ROUNDS},
        "together": together(predictor, rows),
    }


def together(predictor: Predictor, rows: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """{calls, threads, equal, grown_kib}: answers to CALLS rows from THREADS threads beside those of one, and what memory they took."""
    alone = [predictor.predict(**row) for row in rows]

    def ask(calls: int) -> int:
        return sum(predictor.predict(**rows[i % len(rows)]) == alone[i % len(rows)] for i in range(calls))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(ask, [CALLS // THREADS // 5] * THREADS))  # arenas and pools grow now
        before = resident_kib()
        equal = sum(pool.map(ask, [CALLS // THREADS] * THREADS))
        after = resident_kib()
    return {"calls": CALLS, "threads": THREADS, "equal": equal, "grown_kib": after - before}


def resident_kib() -> int:
    """Memory of this process that is in use, KiB; Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def photograph() -> bytes:
    """A JPEG file of 640x480 with some structure."""
    waves = np.add.outer(np.sin(np.arange(480) / 19), np.cos(np.arange(640) / 23))
    file = io.BytesIO()
    Image.fromarray(np.stack([waves * 60 + 128] * 3, -1).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def tables(results: list[dict[str, Any]]) -> dict[str, str]:
    """The table by the name of its markers."""
    return {"predictor": table(results)}


def table(results: list[dict[str, Any]]) -> str:
    """One row a way to ask, and what that is over the session."""
    lines = []
    for result in results:
        lines += [_line(result, name, text) for name, text in {"session": "the session alone", **ROWS}.items() if name in result["times"]]
    head = ["one row, one thread", "median, ms", "95 % interval", "p95"]
    facts = [
        f"{r['run']}: over the session {1000 * r['over_session_ms']['median']:.0f} µs (paired, median of {r['over_session_ms']['rounds']:,} rounds); "
        f"{r['together']['calls']:,} calls from {r['together']['threads']} threads: {r['together']['equal']:,} equal to those of one thread, "
        f"memory {r['together']['grown_kib']:+,} KiB."
        for r in results
    ]
    return "\n".join([markdown_table(head, lines), "", *facts, "", origin_line(results, "onnxruntime")])


def _line(result: dict[str, Any], name: str, text: str) -> list[str]:
    time = result["times"][name]
    return [text, f"{time['median_ms']:.3f}", f"{time['low_ms']:.3f} to {time['high_ms']:.3f}", f"{time['p95_ms']:.3f}"]


def _ask_once(folder: Path, row: dict[str, np.ndarray]) -> None:
    with Predictor(folder) as predictor:
        predictor.predict(**row)


def main() -> None:
    """The command line."""
    run_on_a_run(__doc__, "predictor", measure, table)


if __name__ == "__main__":
    run_program(main)
