"""What frozen encoders and teachers gain from the arithmetic that features and targets use, against float32 in torch's own layout.

    python benchmarks/arithmetic.py            measures, writes results/arithmetic.json (about two minutes)
    python benchmarks/arithmetic.py --publish  puts the table into its document

Both sides hold the same weights, get the same batch on one thread, and take turns; what is compared is the call that the stages make.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
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
from compress.training.arithmetic import disagreement, quick_call
from compress.training.batches import INFERENCE_BATCH

VOCABULARY, WORDS = 30522, 24


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
def measure(rounds: int) -> dict[str, Any]:
    """For each model: ms an input of both calls, their ratio with its 95 % interval, and how far the answers lie apart."""
    torch.set_num_threads(1)
    entries = {}
    for name, build in MODELS.items():
        torch.manual_seed(0)
        exact, sample = build()
        torch.manual_seed(0)
        model, _ = build()
        call, arithmetic = quick_call(model, *sample)
        calls = {"float32": lambda e=exact, s=sample: ask(e, *s), "chosen": lambda c=call, s=sample: c(*s)}
        times = time_calls(calls, Effort(rounds, 2)).ns
        entries[name] = {
            "arithmetic": arithmetic,
            **{side: summarise(ns / INFERENCE_BATCH) for side, ns in times.items()},
            "faster": ratio_interval(times["float32"], times["chosen"]),
            "disagreement": disagreement(ask(exact, *sample), call(*sample)),
        }
    return {**origin(threads=1), "batch": INFERENCE_BATCH, "models": entries}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line a model."""
    header = ("frozen model", "arithmetic", "float32, ms an input", "chosen, ms an input", "times faster", "answers differ by")
    rows = [
        [
            name,
            entry["arithmetic"],
            f"{entry['float32']['median_ms']:.2f}",
            f"{entry['chosen']['median_ms']:.2f}",
            f"{entry['faster']['value']:.2f} ({entry['faster']['low']:.2f} to {entry['faster']['high']:.2f})",
            f"{100 * entry['disagreement']:.1f} %",
        ]
        for name, entry in results[0]["models"].items()
    ]
    return f"{markdown_table(header, rows)}\n\n{origin_line(results, 'torch')}"


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
