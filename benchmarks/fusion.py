"""Which fusion of image and text? One student a fusion and seed, all else equal, scored on validation, so that the test split stays unseen.

    python benchmarks/fusion.py --threads 1    trains every fusion with 3 seeds on 1,500 small images
    python benchmarks/fusion.py --publish      puts the table into its document

Fusions share the stored teacher answers of their seed. Results lie in results/fusion, one file a fusion and seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from losses import slug
from record import add_training_arguments, markdown_table, origin, origin_line, read_results, run_program, show_tables, spread, write_result
from students import load_setting, say, train

from compress.tables import FUSIONS

SETTING = "easy_vqa_100"
SMALL = (  # half a minute of one core a student: enough steps to tell fusions apart, too few for all of them to know everything
    "data.train_limit=1500",
    "data.test_limit=400",
    "data.validation_fraction=0.2",
    "data.paraphrases=null",
    "data.inputs.image.size=32",
    "teacher.encoders.image.options.size=64",
    "student.encoders.image={model: mobilenet_v4, options: {width: 0.5, out: 64, stem_stride: 1}}",
    "student.encoders.text.options={layers: 1, width: 32, heads: 1, feedforward: 64}",
    "student.head_width=48",
    "distill.augment={views: 1}",
    "distill.train={epochs: 9, batch_size: 32, learning_rate: 0.003, validate_every: 3}",
    "distill.compare_alone=false",
)


def measure(fusion: str, seed: int, overrides: Sequence[str], *, runs: Path, threads: int) -> dict[str, Any]:
    """The best validation accuracy of one student, %, its parameters and the seconds of its training."""
    loaded = load_setting(SETTING, seed, [*SMALL, *overrides, f"student.fusion={fusion}"], name=f"fusion-{slug(fusion)}")
    made = train(loaded, SETTING, runs=runs, threads=threads, last="distill")
    student = made.artifacts["distill"]
    history = student.details["history"]
    return {
        **origin(threads=threads),
        "fusion": fusion,
        "seed": seed,
        "overrides": [*SMALL, *overrides],
        "accuracy": student.metrics["validation_accuracy"],
        "parameters": student.details["parameters"],
        "steps": history["steps"],
        "seconds": round(history["seconds"], 1),
        "rows": made.artifacts["data"].details["splits"]["train"]["rows"],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line a fusion, by falling mean accuracy; against the default seed by seed."""
    by_seed = {(r["fusion"], r["seed"]): r["accuracy"]["value"] for r in results}
    lines = []
    for fusion in dict.fromkeys(r["fusion"] for r in results):
        own = [r for r in results if r["fusion"] == fusion]
        values = [r["accuracy"]["value"] for r in own]
        gains = [value - by_seed["product", r["seed"]] for r, value in zip(own, values, strict=True) if ("product", r["seed"]) in by_seed]
        against = "-" if fusion == "product" or not gains else spread(gains, signed=True)
        cells = [fusion, spread(values), against, ", ".join(str(r["seed"]) for r in own), f"{own[0]['parameters']:,}"]
        lines.append((-sum(values) / len(values), cells))
    first = results[0]
    told = f"{first['rows']:,} training rows, {first['steps']:,} steps, {first['accuracy']['samples']:,} validation rows."
    header = ("fusion", "validation accuracy, %", "against the product, points", "seeds", "parameters")
    return "\n\n".join([told, markdown_table(header, [cells for _, cells in sorted(lines)]), origin_line(results, "torch")])


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"fusion": table(results)}


def main() -> None:
    """Trains the students, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FUSIONS, default=list(FUSIONS), metavar="FUSION", help=f"of {', '.join(FUSIONS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_training_arguments(parser, "fusion")
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    for seed in args.seeds:
        for fusion in args.only:
            result = measure(fusion, seed, args.overrides, runs=args.runs, threads=args.threads)
            write_result(args.results / f"{slug(fusion)}-{seed}.json", result)
            say(f"{fusion} seed {seed}: {result['accuracy']['value']:.2f} %")


if __name__ == "__main__":
    run_program(main)
