"""How to train in int8: one float student, one candidate a way, all else equal, scored on validation, so that the test split stays unseen.

    python benchmarks/students.py --only cifar10      trains the float students, which this program takes from the same --runs folder
    python benchmarks/qat.py --setting cifar10        trains every candidate, writes results/qat/cifar10-as_the_recipe-0.json, ...
    python benchmarks/qat.py --publish                puts the table into the document that has its markers

A candidate changes the recipe's part `quantize` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from losses import candidate_parser, slug, train_candidates
from record import markdown_table, origin, origin_line, read_results, run_program, show_tables, spread
from students import SETTINGS, load_setting, train

CANDIDATES: dict[str, list[str]] = {
    "as the recipe": [],
    "fp32 student teaches": ["quantize.teacher=student"],
    "both teach": ["quantize.teacher=both"],
    "rate 1e-4": ["quantize.train.learning_rate=1.0e-4"],
    "rate 1e-3": ["quantize.train.learning_rate=1.0e-3"],
    "learned steps (LSQ)": ["quantize.learned_step_size=true"],
}


def measure(setting: str, candidate: str, seed: int, overrides: Sequence[str], *, runs: Path, threads: int) -> dict[str, Any]:
    """The result of one candidate: validation accuracy of the fp32 student and of its int8 forms, %."""
    loaded = load_setting(setting, seed, [*overrides, *CANDIDATES[candidate]], name=f"qat-{slug(candidate)}")
    quantized = train(loaded, setting, runs=runs, threads=threads, last="quantize").artifacts["quantize"]
    return {
        **origin(threads=threads),
        "setting": setting,
        "candidate": candidate,
        "seed": seed,
        "overrides": list(overrides),
        "changed": CANDIDATES[candidate],
        "validation": {name: 100 * value for name, value in quantized.details["validation"].items()},
        "samples": quantized.metrics["validation_accuracy"]["samples"],
        "steps": quantized.details["history"]["steps"],
        "best_step": quantized.details["history"]["best_step"],
        "seconds": round(quantized.details["history"]["seconds"], 1),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table for each setting: points that trained int8 loses to fp32, a line a candidate, the smallest loss first."""
    parts = []
    for setting in dict.fromkeys(r["setting"] for r in results):
        found = [r for r in results if r["setting"] == setting]
        lines = []
        for name in dict.fromkeys(["calibrated only (PTQ)", *(r["candidate"] for r in found)]):
            form = "int8_qat" if name in CANDIDATES else "int8_ptq"
            chosen = [r for r in found if r["candidate"] == (name if name in CANDIDATES else next(iter(CANDIDATES)))]
            drops = [r["validation"]["fp32"] - r["validation"][form] for r in chosen]
            seconds = f"{sum(r['seconds'] for r in chosen) / len(chosen):.0f}" if name in CANDIDATES else "0"
            lines.append((sum(drops) / len(drops), [name, spread(drops, signed=True), ", ".join(f"{d:+.2f}" for d in drops), seconds]))
        steps, samples = found[0]["steps"], found[0]["samples"]
        parts.append(f"**{SETTINGS[setting].title}**: {steps:,} steps, {samples:,} validation rows, seeds {seeds(found)}.")
        header = ("int8, points lost to fp32 on validation", "mean", "by seed", "seconds")
        parts.append(markdown_table(header, [cells for _, cells in sorted(lines)]))
    parts.append(origin_line(results, "torch"))
    return "\n\n".join(parts)


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"qat": table(results)}


def seeds(results: Sequence[dict[str, Any]]) -> str:
    """The seeds of some results."""
    return ", ".join(map(str, sorted({r["seed"] for r in results})))


def main() -> None:
    """Trains the candidates, or prints or publishes the table."""
    args = candidate_parser(__doc__, CANDIDATES, results="qat", seeds=[0, 1, 2]).parse_args()
    if not show_tables(args, lambda: tables(read_results(args.results))):
        train_candidates(args, measure, lambda result: str(result["validation"]))


if __name__ == "__main__":
    run_program(main)
