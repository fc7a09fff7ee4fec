"""Cold start and peak memory of each file, in processes that import what the shipped runner does and nothing else of this program."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import CompressError
from compress.stages.benchmark.candidate import Candidate, gather_feeds

if TYPE_CHECKING:
    from compress.data.prepared import Split

STARTS = 3  # of each file that could ship and of the teacher, all files taking turns; of variants one
ROOT = Path(__file__).parents[3]  # as working directory it makes a checkout importable that nobody installed


def start_afresh(models: dict[str, Candidate], test: Split, rows: np.ndarray, *, threads: int) -> dict[str, dict[str, Any]]:
    """{name: {peak_memory, cold_start}} of processes that open the file and answer 3 times at batch 1: the median over the starts of the largest
    resident memory in bytes, and of the ms from the start to the first answer, with the smallest and the largest as `low` and `high`.

    Counted are Python and the packages that `includes` names, which is what the process found imported: no reader of images, texts or sounds,
    which a device that is given files imports besides. None where the system does not tell a process its own high-water mark.
    """
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as folder:
        feeds = {}
        for place, (name, model) in enumerate(models.items()):
            feeds[name] = Path(folder) / f"{place}.npz"
            arrays: dict[str, Any] = gather_feeds(model, test, rows[:1], names=[*model.inputs])
            np.savez(feeds[name], **arrays)
        for turn in range(STARTS):
            for name, model in models.items():
                if turn == 0 or model.role != "variant":
                    told[name].append(_start(model, feeds[name], threads=threads, name=name))
    return {name: _describe(starts) for name, starts in told.items()}


def _start(model: Candidate, feeds: Path, *, threads: int, name: str) -> dict[str, Any]:
    words = ["-m", "compress.device.fresh", str(model.path.resolve()), str(feeds), model.runtime, str(threads)]
    began = time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise CompressError(f"{name}: does not answer in a process of its own: {lines[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "ms": 1000 * (found["answered"] - began)}


def _describe(starts: list[dict[str, Any]]) -> dict[str, Any]:
    imported = {name for name in starts[0]["modules"] if not name.startswith("_")} - {*sys.stdlib_module_names, "compress"}
    beside = {"batch": 1, "samples": len(starts), "includes": ", ".join(["python", *sorted(imported)])}
    if starts[0]["peak_bytes"] is None:
        return {"peak_memory": None, "cold_start": None}
    return {
        "peak_memory": _middle([start["peak_bytes"] for start in starts], "bytes") | beside,
        "cold_start": _middle([start["ms"] for start in starts], "ms") | beside,
    }


def _middle(values: list[float], unit: str) -> dict[str, Any]:
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "unit": unit}
