"""Structured pruning against training the small student at once: same architecture in the end, same steps or time, scored on validation.

    python benchmarks/pruning.py --seeds 0 1 2      trains all arms on CIFAR-10, writes results/pruning/cifar10-0.json, ...
    python benchmarks/pruning.py --publish          puts the table into its document

Two arms train the student of the recipe, one of them LONGER, for about as many seconds as pruning takes. The third trains one whose blocks are
EXPAND times as wide inside for half of the passes, keeps in each block the inner channels whose batch norm has the largest scale (arXiv
1708.06519), and trains what is left for the other half, in another order.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from record import (
    ROOT,
    add_training_arguments,
    markdown_table,
    origin,
    origin_line,
    read_results,
    run_program,
    show_tables,
    spread,
    write_result,
)
from students import SETTINGS, folder_of, load_setting, say, train
from torch import nn

from compress.context import Context
from compress.data.prepared import open_data
from compress.io_spec import IOSpec
from compress.losses.objective import Objective
from compress.models.saved import count_parameters
from compress.models.student import student
from compress.models.vision import UniversalBottleneck
from compress.recipe.recipe import Recipe
from compress.stages.distill.start import student_options
from compress.training.batches import Batches
from compress.training.checkpoint import seed_everything
from compress.training.loop import predict
from compress.training.loop import train as train_model
from compress.training.rows import model_io, open_rows, training_rows

EXPAND = 2.0
LONGER = 1.2  # times the steps: a step of the wide student takes longer
ARMS = {
    "at_once": "the small student at once",
    "longer": f"the same, {LONGER:g} times the steps",
    "pruned": f"pruned from one {EXPAND:g} times as wide inside",
}


def build(recipe: Recipe, io: IOSpec, *, expand: float, seed: int) -> nn.Module:
    """The recipe's student with blocks `expand` times as wide inside."""
    seed_everything(seed)
    options = student_options(recipe, ROOT)
    options["encoders"]["image"]["options"] |= {"expand": expand}
    return student(io, **options)


@torch.no_grad()
def prune_into(narrow: nn.Module, wide: nn.Module) -> None:
    """Fills `narrow` with the weights of `wide`; in each block the inner channels with the largest scale of their last norm stay."""
    state, own = wide.state_dict(), narrow.state_dict()
    blocks = {name: m for name, m in wide.named_modules() if isinstance(m, UniversalBottleneck)}
    targets = {name: m for name, m in narrow.named_modules() if isinstance(m, UniversalBottleneck)}
    for name, block in blocks.items():
        *inner, last = list(block.body.named_children())  # the last one projects back to the stream
        hidden = targets[name].get_submodule(f"body.{last[0]}.conv").weight.shape[1]
        scale = inner[-1][1].norm.weight.abs()
        if len(scale) == hidden:
            continue
        kept = scale.topk(hidden).indices.sort().values
        for place, layer in inner:
            prefix = f"{name}.body.{place}."
            if layer.conv.weight.shape[0] == len(scale):  # the expansion, and the depthwise convolution inside it
                for key in [key for key in state if key.startswith(prefix) and state[key].ndim]:
                    state[key] = state[key][kept]
        state[f"{name}.body.{last[0]}.conv.weight"] = state[f"{name}.body.{last[0]}.conv.weight"][:, kept]
    mismatched = [key for key in own if own[key].shape != state[key].shape]
    assert not mismatched, mismatched
    narrow.load_state_dict(state)


def measure(seed: int, overrides: Sequence[str], *, epochs: float, runs: Path, threads: int) -> dict[str, Any]:
    """Validation accuracy of the arms, %, and their seconds."""
    loaded = load_setting("cifar10", seed, [*overrides, f"distill.train.epochs={epochs}"], name="pruning")
    recipe = loaded.recipe
    made = train(loaded, "cifar10", runs=runs, threads=threads, last="targets")
    torch.set_num_threads(threads)
    data = open_data(folder_of(made, "data"))
    io = model_io(data, recipe.data.inputs.get, None)
    rows = training_rows(data.split("train"), io, made.artifacts["targets"], folder_of(made, "targets"))  # type: ignore[arg-type]
    check = Batches(open_rows(data.split("validation"), io, None), 512, shuffle=False)
    total = round(epochs * Batches(rows, recipe.distill.train.batch_size).steps)

    def run(model: nn.Module, steps: int, label: str, *, order: int = seed) -> float:
        config = recipe.distill.train.model_copy(update={"min_steps": steps, "max_steps": steps})
        with tempfile.TemporaryDirectory() as out:
            history = train_model(
                model,
                Batches(rows, recipe.distill.train.batch_size, seed=order),
                objective=Objective(recipe.distill.losses),
                config=config,
                ctx=Context(Path(out), seed, threads, say, ROOT),
                validate=lambda m: data.task.score(predict(m, check), check.data.labels),
                label=label,
            )
        return 100 * history.best

    marks = [time.monotonic()]
    at_once = run(build(recipe, io, expand=1.0, seed=seed), total, "at once")
    marks.append(time.monotonic())
    longer = run(build(recipe, io, expand=1.0, seed=seed), round(LONGER * total), "longer")
    marks.append(time.monotonic())
    wide, pruned = (build(recipe, io, expand=expand, seed=seed) for expand in (EXPAND, 1.0))
    before = run(wide, total // 2, "wide")
    prune_into(pruned, wide)
    after = run(pruned, total - total // 2, "pruned", order=seed + 1000)
    marks.append(time.monotonic())
    return {
        **origin(threads=threads),
        "setting": "cifar10",
        "seed": seed,
        "overrides": list(overrides),
        "expand": EXPAND,
        "steps": {"at_once": total, "longer": round(LONGER * total), "wide": total // 2, "pruned": total - total // 2},
        "parameters": {"student": count_parameters(pruned), "wide": count_parameters(wide)},
        "validation": {
            "at_once": at_once,
            "longer": longer,
            "wide": before,
            "pruned": after,
            "unit": "%",
            "samples": len(check.data.labels),
        },
        "seconds": {arm: round(end - start, 1) for arm, start, end in zip(ARMS, marks, marks[1:], strict=False)},
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line an arm: mean ± standard deviation over the seeds."""
    rows = []
    for arm, title in ARMS.items():
        values = [r["validation"][arm] for r in results]
        seconds = sum(r["seconds"][arm] for r in results) / len(results)
        rows.append([title, spread(values), ", ".join(f"{v:.2f}" for v in values), f"{seconds:.0f}"])
    header = ("CIFAR-10, validation accuracy, %", "mean", "by seed", "seconds")
    steps = results[0]["steps"]["at_once"]
    return f"{SETTINGS['cifar10'].title}: {steps:,} steps at once.\n\n{markdown_table(header, rows)}\n\n{origin_line(results, 'torch')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"pruning": table(results)}


def main() -> None:
    """Trains the arms, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=4.0, help="passes of each arm in all")
    add_training_arguments(parser, "pruning")
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    for seed in args.seeds:
        result = measure(seed, args.overrides, epochs=args.epochs, runs=args.runs, threads=args.threads)
        write_result(args.results / f"cifar10-{seed}.json", result)
        say(f"pruning seed {seed}: {result['validation']}")


if __name__ == "__main__":
    run_program(main)
