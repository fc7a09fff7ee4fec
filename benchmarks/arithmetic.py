"""What frozen encoders and teachers gain from how features and targets calculate: their arithmetic, and memory that is kept for the next block.

    python benchmarks/arithmetic.py            measures, writes results/arithmetic.json (about two minutes)
    python benchmarks/arithmetic.py --publish  puts the table into its document

All sides hold the same weights, get the same batch on one thread, and take turns, each in a process of its own: float32 in torch's own layout, the
same with freed memory kept, and the call that the stages make.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, add_table_arguments, markdown_table, origin, origin_line, run_program, show_tables, write_result
from torch import Tensor, nn

from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.io_spec import IOSpec, Port
from compress.models.cifar_resnet import cifar_resnet
from compress.placement import ask
from compress.stages.features import open_encoder
from compress.store.heap import freed_memory_kept
from compress.training.arithmetic import disagreement, quick_call
from compress.training.batches import INFERENCE_BATCH

VOCABULARY, WORDS = 30522, 24
SIDES = ("float32", "kept", "chosen")


def images(size: int) -> Tensor:
    """(B, size, size, 3) uint8."""
    return torch.randint(256, (INFERENCE_BATCH, size, size, 3), dtype=torch.uint8)


def efficientnet(size: int) -> tuple[nn.Module, tuple[Any, ...]]:
    """The default teacher's image encoder with its ImageNet weights, and a batch."""
    return open_encoder(Port("image", "uint8", (size, size, 3), 0, 255), {"model": "efficientnet_lite2", "options": {"size": size}}), (
        images(size),
    )


def minilm() -> tuple[nn.Module, tuple[Any, ...]]:
    """The default teacher's text encoder with its weights, and a batch of ids."""
    port = Port("text", "int32", (WORDS,), 0, VOCABULARY - 1)
    return open_encoder(port, {"model": "minilm_l6", "options": {}}), (
        torch.randint(1, VOCABULARY, (INFERENCE_BATCH, WORDS), dtype=torch.int32),
    )


def resnet() -> tuple[nn.Module, tuple[Any, ...]]:
    """A ResNet-56 for CIFAR-10 (random weights: they do not change its time), and a batch."""
    io = IOSpec((Port("image", "uint8", (32, 32, 3), 0, 255),), (Port("logits", "float32", (10,)),))
    return cifar_resnet(io, depth=56).eval(), ({"image": images(32)},)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "EfficientNet-Lite2, 128 pixels": lambda: efficientnet(128),
    "EfficientNet-Lite2, 224 pixels": lambda: efficientnet(224),
    "MiniLM-L6, 24 words": minilm,
    "ResNet-56, 32 pixels": resnet,
}


@torch.no_grad()
def serve(side: str, name: str, told: Connection) -> None:
    """A process of its own: says what its arithmetic is and how far its answers lie from float32's, then calls the model as often as it hears from `told`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, sample = MODELS[name]()
    exact = ask(model, *sample)
    call, arithmetic = quick_call(model, *sample) if side == "chosen" else (partial(ask, model), "float32")
    told.send((arithmetic, disagreement(exact, call(*sample))))
    with ExitStack() as kept:
        if side != "float32":
            kept.enter_context(freed_memory_kept())
        while told.recv():
            call(*sample)
            told.send(True)


@contextmanager
def process(side: str, name: str) -> Iterator[Connection]:
    """Inside, `serve` runs in a fresh process; the other end of what it hears from."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    child = context.Process(target=serve, args=(side, name, its), daemon=True)
    child.start()
    yield ours
    ours.send(False)
    child.join()


def one_call(told: Connection) -> None:
    """One batch through the model of a process."""
    told.send(True)
    told.recv()


def measure(rounds: int) -> dict[str, Any]:
    """For each model: ms an input of the three sides, the ratios to the first with their 95 % intervals, and how far the answers lie apart."""
    entries = {}
    for name in MODELS:
        with ExitStack() as stack:
            there = {side: stack.enter_context(process(side, name)) for side in SIDES}
            said = {side: told.recv() for side, told in there.items()}
            times = time_calls({side: partial(one_call, told) for side, told in there.items()}, Effort(rounds, 3)).ns
        arithmetic, differ = said["chosen"]
        entries[name] = {
            "arithmetic": arithmetic,
            **{side: summarise(ns / INFERENCE_BATCH) for side, ns in times.items()},
            **{f"faster_{side}": ratio_interval(times["float32"], times[side]) for side in SIDES[1:]},
            "disagreement": differ,
        }
    return {**origin(threads=1), "batch": INFERENCE_BATCH, "models": entries}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line a model."""
    header = (
        *("frozen model", "float32, ms an input", "with memory kept, times faster", "the stages' arithmetic"),
        *("the stages' call, ms an input", "times faster", "answers differ by"),
    )
    rows = [
        [
            name,
            f"{entry['float32']['median_ms']:.2f}",
            in_words(entry["faster_kept"]),
            entry["arithmetic"],
            f"{entry['chosen']['median_ms']:.2f}",
            in_words(entry["faster_chosen"]),
            f"{100 * entry['disagreement']:.1f} %",
        ]
        for name, entry in results[0]["models"].items()
    ]
    return f"{markdown_table(header, rows)}\n\n{origin_line(results, 'torch')}"


def in_words(ratio: dict[str, float]) -> str:
    """A ratio with its interval."""
    return f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def main() -> None:
    """Measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="timed batches of each call")
    parser.add_argument("--result", type=Path, default=RESULTS / "arithmetic.json")
    add_table_arguments(parser)
    args = parser.parse_args()
    if not show_tables(args, lambda: {"arithmetic": table([json.loads(args.result.read_text())])}):
        result = measure(args.rounds)
        write_result(args.result, result)
        print(table([result]))


if __name__ == "__main__":
    run_program(main)
