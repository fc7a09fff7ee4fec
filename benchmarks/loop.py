"""What the training loop costs over one written by hand, and what a teacher's stored answers cost a step: calls in turns, no data needed.

    python benchmarks/loop.py              measures, writes results/loop.json (some minutes)
    python benchmarks/loop.py --publish    puts the table into its document

The loop is `compress.training.loop.train` itself, with its scalars to TensorBoard: behind each of its steps one of a plain PyTorch loop follows, of
a model of its own, on the same rows. Steps with a teacher are the loop's own steps, in turns with one that has labels alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from losses import CANDIDATES
from record import RESULTS, add_table_arguments, markdown_table, origin, origin_line, run_program, show_tables, write_result
from torch import nn
from torch.nn import functional as F

from compress.context import Context
from compress.device.timing import Effort, ratio_interval, time_calls
from compress.io_spec import Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.text import distilbert
from compress.models.vision import mobilenet_v4
from compress.recipe.sections import Train
from compress.recipe.terms import Loss
from compress.store.arrays import allocate
from compress.training.batches import Batch, Batches, Rows
from compress.training.loop import parameter_groups, set_rate, train, train_step
from compress.training.teaching import objective_for
from compress.training.views import Views

RESULT = RESULTS / "loop.json"
ROWS, CLASSES, WIDTH, BATCH = 4096, 77, 384, 64
SECONDS = 90.0  # that the steps with one list of losses may take
PIXELS, TOKENS = Port("image", "uint8", (64, 64, 3), 0, 255), Port("text", "int64", (32,), 0, 2000)
STUDENTS: dict[str, Callable[[], nn.Module]] = {
    "image": lambda: mobilenet_v4(PIXELS, width=1.0, out=128),
    "text": lambda: distilbert(TOKENS, layers=2, width=128, heads=4, feedforward=512),
}
LOSSES = {
    "labels": CANDIDATES["alone"],
    **{
        name: CANDIDATES[f"kd T=4{more}"]
        for name, more in (("and kd", ""), ("and kd, hint", ", hint"), ("and kd, distances", ", rkd_distance"))
    },
    "and dist": CANDIDATES["dist"],
    "and kd, cka": CANDIDATES["kd T=4, cka"],
}
CONFIG = Train(epochs=1, batch_size=BATCH, validate_every=10_000, checkpoint_seconds=1e9)


def student(modality: str) -> nn.Module:
    """A classifier of that input, the same weights each time."""
    torch.manual_seed(0)
    encoder: Any = STUDENTS[modality]()
    return Classifier({modality: encoder}, LinearHead(modality, encoder.width, CLASSES))


def draw_rows(modality: str, folder: Path) -> Rows:
    """Rows of noise, with a teacher's answers and embedding as they are stored: memory-mapped float16."""
    draw = np.random.default_rng(0)
    inputs = {
        "image": lambda: draw.integers(0, 256, (ROWS, *PIXELS.shape), np.uint8),
        "text": lambda: draw.integers(1, 2000, (ROWS, *TOKENS.shape)),
    }[modality]()
    stored = {}
    for name, width in (("logits", CLASSES), ("embedding", WIDTH)):
        stored[name] = allocate(folder / f"{name}.npy", (1, ROWS, width), np.float16)
        stored[name][:] = draw.normal(size=(1, ROWS, width))
    labels = draw.integers(0, CLASSES, ROWS)
    rows = {modality: np.arange(ROWS)}
    return Rows({modality: inputs}, rows, labels, stored["logits"], Views(), hidden={"embedding": stored["embedding"]})


def by_hand(modality: str, rows: Rows) -> Callable[[], None]:
    """One step of a plain loop: draw, collect, forward, cross-entropy, backward, clip, AdamW under warm-up and cosine."""
    model = student(modality).train()
    inputs, labels = torch.from_numpy(np.asarray(rows.inputs[modality])), torch.from_numpy(np.asarray(rows.labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=CONFIG.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, CONFIG.learning_rate, total_steps=100_000)

    def shuffled() -> Iterator[torch.Tensor]:
        while True:
            yield from torch.randperm(ROWS).split(BATCH)

    drawn = shuffled()

    def step() -> None:
        index = next(drawn)
        loss = F.cross_entropy(model({modality: inputs[index]}).logits, labels[index])
        if not torch.isfinite(loss):
            raise FloatingPointError
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CONFIG.gradient_clip)
        optimizer.step()
        schedule.step()

    return step


def loop_over_hand(modality: str, rows: Rows, folder: Path, *, steps: int) -> dict[str, Any]:
    """`ratio_interval` of a turn of the loop, from batch to batch, over a step by hand that follows it."""
    hand, model = by_hand(modality, rows), student(modality)
    turns: list[float] = []
    hands: list[float] = []
    began = [0.0]

    def between(model: nn.Module, batch: Batch, objective: Any, step: int, done: float) -> Batch:
        now = time.perf_counter()
        turns.append(now - began[0])
        hand()
        began[0] = time.perf_counter()
        hands.append(began[0] - now)
        return batch

    unaided = Rows(rows.inputs, rows.rows, rows.labels, None, Views())
    objective = objective_for([Loss.model_validate(loss) for loss in LOSSES["labels"]], model, unaided, with_teacher=False)
    config = CONFIG.model_copy(update={"min_steps": steps, "max_steps": steps, "validate_every": 1000.0})
    ctx = Context(folder, seed=0, threads=1, say=lambda _: None)
    train(
        model,
        Batches(unaided, BATCH),
        objective=objective,
        config=config,
        ctx=ctx,
        validate=lambda _: np.zeros(1),
        label=modality,
        perturb=between,
    )
    warm = 20
    return ratio_interval(np.array(turns[warm + 1 :]), np.array(hands[warm:-1])) | {"hand_ms": 1000 * float(np.median(hands[warm:]))}


def loop_step(modality: str, rows: Rows, losses: Sequence[dict[str, Any]]) -> Callable[[], None]:
    """One step of the loop with these losses."""
    model, named = student(modality), [Loss.model_validate(loss) for loss in losses]
    aided = len(losses) > 1
    given = rows if aided else Rows(rows.inputs, rows.rows, rows.labels, None, Views())
    if not any(loss.name in ("hint", "rkd_distance", "cka") for loss in named):
        given = Rows(given.inputs, given.rows, given.labels, given.targets, Views())
    objective = objective_for(named, model, given, with_teacher=aided)
    optimizer = torch.optim.AdamW(parameter_groups(nn.ModuleList([model, objective]), CONFIG.weight_decay), lr=CONFIG.learning_rate)
    batches = Batches(given, BATCH)
    stream = itertools.chain.from_iterable(batches.epoch(epoch) for epoch in itertools.count())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    steps = itertools.count()

    def step() -> None:
        batch, done = next(stream).to("cpu"), next(steps)
        set_rate(optimizer, CONFIG, done, 100_000)
        train_step(model, optimizer, batch, objective, CONFIG, done=done / 100_000, place="loop", scaler=scaler)

    return step


def measure(modality: str, *, steps: int) -> dict[str, Any]:
    """Both ratios of one kind of student."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = draw_rows(modality, Path(scratch))
        over = loop_over_hand(modality, rows, Path(scratch), steps=steps)
        functions = {name: loop_step(modality, rows, losses) for name, losses in LOSSES.items()}
        pairs = [(name, "labels") for name in LOSSES if name != "labels"]
        timings = time_calls(functions, Effort(warmup=5, rounds=steps, limit_s=SECONDS), ratios=pairs)
        costs = {name: ratio_interval(*(timings.ns[one] for one in (name, "labels"))) for name, _ in pairs}
        return {"loop_over_hand": over, "losses": costs, **timings.to_json()}


def table(result: dict[str, Any]) -> str:
    """A line for each ratio, a column for each student."""

    def shown(ratio: dict[str, Any]) -> str:
        return f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"

    found = result["students"]
    rows = [["a turn of the loop, over a step by hand", *(shown(one["loop_over_hand"]) for one in found.values())]]
    rows += [
        [f"a step with labels {name}, over one with labels", *(shown(one["losses"][name]) for one in found.values())]
        for name in LOSSES
        if name != "labels"
    ]
    header = (
        "median of paired ratios (95 % interval)",
        *(f"{name}, {one['loop_over_hand']['hand_ms']:.0f} ms by hand" for name, one in found.items()),
    )
    return f"{markdown_table(header, rows)}\n\n{origin_line([result], 'torch')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table, of the only result."""
    return {"loop": table(results[0])}


def main() -> None:
    """Measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables([json.loads(RESULT.read_text())])):
        return
    torch.set_num_threads(1)
    result = {**origin(threads=1), "students": {modality: measure(modality, steps=args.steps) for modality in STUDENTS}}
    write_result(RESULT, result)
    print(table(result))


if __name__ == "__main__":
    run_program(main)
