"""Is a training step faster with two processes than with one? The student of recipes/mobile_vqa.yaml on made-up rows, arms in turns.

    python benchmarks/ranks.py              times every arm in each of five rounds, in processes of its own
    python benchmarks/ranks.py --publish    puts the table into its document

A round's figure is the median of its steps after a warm-up; ratios are of one round, so that a busy machine is the same for both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, ROOT, add_table_arguments, markdown_table, origin, origin_line, run_program, show_tables, write_result

ARMS = {"1 process, 1 thread": (1, 1), "2 processes, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}  # -> processes, threads
STEPS, WARM_UP = 8, 2
IMAGES, EACH, TEXTS, CLASSES = 64, 10, 100, 13  # of a batch, as in the recipe; questions an image
OUT = RESULTS / "ranks.json"


def step_seconds(threads: int) -> list[float]:
    """What each step after the warm-up takes in this process, alone or among those of a launcher."""
    import torch

    from compress.context import Context
    from compress.io_spec import IOSpec, Port
    from compress.losses.objective import Objective
    from compress.models.student import student
    from compress.ranks import group as ranks
    from compress.recipe.grammar import load_recipe
    from compress.recipe.sections import Loss, Train
    from compress.training.batches import Batches, Rows
    from compress.training.loop import train

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    recipe, draw = load_recipe(ROOT / "recipes" / "mobile_vqa.yaml").recipe, np.random.default_rng(0)
    words = recipe.student.encoders.get("text").options
    ports = (Port("image", "uint8", (64, 64, 3), 0, 255), Port("text", "int64", (16,), 0, TEXTS))
    encoders = {"image": {"model": "mobilenet_v4", "options": recipe.student.encoders.get("image").options}}
    encoders["text"] = {"model": recipe.student.encoders.get("text").model, "options": words}
    model = student(IOSpec(ports, (Port("logits", "float32", (CLASSES,)),)), encoders=encoders, head_width=recipe.student.head_width)
    rows = np.repeat(np.arange(2 * IMAGES), EACH)
    data = Rows(
        {"image": draw.integers(0, 256, (2 * IMAGES, 64, 64, 3), np.uint8), "text": draw.integers(1, TEXTS, (TEXTS, 16))},
        {"image": rows, "text": draw.integers(0, TEXTS, len(rows))},
        draw.integers(0, CLASSES, len(rows)),
        draw.normal(size=(1, len(rows), CLASSES)).astype(np.float16),
    )
    begun: list[float] = []

    def note(model: Any, batch: Any, objective: Any, step: int, done: float) -> Any:
        begun.append(time.perf_counter())
        return batch

    group = ranks.join()
    with group.session() if group else nullcontext(), ranks.acting(group.ranks) if group else nullcontext():
        with tempfile.TemporaryDirectory() as folder:
            train(
                model,
                Batches(data, IMAGES),
                objective=Objective([Loss(name="cross_entropy"), Loss(name="kd")]),
                config=Train(epochs=1, min_steps=WARM_UP + STEPS + 1, batch_size=IMAGES, validate_every=1000, trackers=[]),
                ctx=Context(Path(folder), say=lambda line: None),
                validate=lambda m: np.zeros(1),
                label="ranks",
                perturb=note,
            )
    return np.diff(begun)[WARM_UP:].tolist()


def measure(processes: int, threads: int) -> float:
    """The median step of one arm, seconds, in processes of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, __file__, "--worker", str(threads)]
    places = [{"RANK": str(n), "LOCAL_RANK": str(n), "WORLD_SIZE": str(processes)} for n in range(processes)]
    started = [subprocess.Popen(command, env={**env, **place}, stdout=subprocess.PIPE, text=True) for place in places]
    said = [process.communicate()[0] for process in started]
    return float(np.median(json.loads(said[0])))


def run(rounds: int) -> dict[str, Any]:
    """Seconds of a step by arm, round by round."""
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(rounds):
        for arm in ARMS if number % 2 else reversed(ARMS):
            found[arm].append(measure(*ARMS[arm]))
            print(f"round {number + 1}, {arm}: {1000 * found[arm][-1]:.0f} ms", flush=True)
    return {**origin(threads=1), "images": IMAGES, "rows": IMAGES * EACH, "steps": STEPS, "seconds": found, "load": os.getloadavg()[0]}


def table(result: dict[str, Any]) -> str:
    """One line an arm: the median over rounds, and the time over that of one process in the same round."""
    first, lines = next(iter(ARMS)), []
    for arm, seconds in result["seconds"].items():
        ratios = np.divide(seconds, result["seconds"][first])
        lines.append([arm, f"{1000 * np.median(seconds):.0f}", f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    rounds = len(result["seconds"][first])
    told = (
        f"{result['images']} images and {result['rows']:,} rows a step, {rounds} rounds of {result['steps']} steps; "
        f"load average of the machine at the end: {result['load']:.1f}."
    )
    return "\n\n".join([told, markdown_table(("arm", "median step, ms", "over one process"), lines), origin_line([result], "torch")])


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"ranks": table(results[0])}


def main() -> None:
    """Times the arms, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    add_table_arguments(parser)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(step_seconds(args.worker)))
    elif not show_tables(args, lambda: tables([json.loads(OUT.read_text())])):
        write_result(OUT, run(args.rounds))


if __name__ == "__main__":
    run_program(main)
