"""What `init` chooses for small sets beside what it would write without that choice, all else equal: do pairings help, do whole published weights?

    python benchmarks/choices.py pairings --sets FOLDER... --threads 1     each with train and test as .csv or .parquet; goes on where it was
    python benchmarks/choices.py --publish                                 puts the tables into their document

Students are scored by torch on the test split, before quantization; both arms hear the same teacher. Results lie in results/choices, one file a
choice and set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import add_training_arguments, markdown_table, origin, origin_line, read_results, run_program, show_tables
from trial import Ended, artifacts_of, float_logits, init, make_missing, run, student_folder, tell_test

from compress.errors import CompressError

UNDONE = {  # choice -> what takes it back
    "pairings": ("distill.augment.pairings=0", "distill.compare_alone=false"),  # which the student alone does not see
    "whole": ("student.encoders.image.options.expand=0.5", "student.encoders.image.freeze=0", "distill.train.learning_rate=7.0e-4"),
}
STUDENTS = ("distilled", "alone")
LIMIT_S = 1800.0  # of a run


def measure(choice: str, folder: Path, *, overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The accuracies on one set, %, and the students with and without the choice compared row by row."""
    from compress.data.prepared import open_data
    from compress.measures.paired import compare_paired

    recipe, right, made, seconds = runs / f"{folder.name}.yaml", {}, {}, {}
    runs.mkdir(parents=True, exist_ok=True)
    found = [path.resolve() for split in ("train", "test", "validation") for path in folder.glob(f"{split}.*")]
    files = {path.stem: path for path in found}
    well(init(recipe, files, limit=LIMIT_S), f"init of {folder}")
    for suffix, words in {"": (), "_without": UNDONE[choice]}.items():
        name = f"{folder.name}-{choice}{suffix}"
        well(run(recipe, runs, limit=LIMIT_S, threads=threads, overrides=[f"name={name}", *words, *overrides], until="distill"), name)
        made = artifacts_of(runs / name)
        distill, data = made["distill"], made["data"].path
        assert data
        test, seconds[f"distill{suffix}"] = open_data(data).split("test"), round(distill.seconds, 1)
        for student in STUDENTS:
            if found := student_folder(distill, student):
                right[f"{student}{suffix}"] = float_logits(found, distill, test, threads=threads).argmax(1) == np.asarray(test.labels)
    teacher = made["teacher"]  # the same in both arms
    assert teacher.path
    right["teacher"] = float_logits(teacher.path, teacher, test, threads=threads, teacher=True).argmax(1) == np.asarray(test.labels)
    return {
        **origin(threads=threads),
        "change": choice,
        "set": folder.name,
        "rows": made["data"].details["splits"]["train"]["rows"],
        "seconds": seconds,
        "test": {model: {"value": 100 * float(found.mean()), "samples": len(found), "unit": "%"} for model, found in right.items()},
        "against_without": {s: compare_paired(right[s], right[f"{s}_without"]).to_json() for s in STUDENTS if f"{s}_without" in right},
    }


def well(ended: Ended, what: str) -> None:
    """Raises CompressError with its last line where a process failed."""
    if ended.exit_code:
        raise CompressError(f"{what}: {(ended.lines or ['no word'])[-1]}")


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line a set, by its rows, of one choice."""
    compared = [s for s in STUDENTS if s in results[0]["against_without"]]
    header = ["training rows", "test rows", "teacher, %", *([] if "alone" in compared else ["student alone"])]
    for student in compared:
        header += [f"{student} without", f"{student} with", "points", "p"]
    rows = []
    for result in sorted(results, key=lambda r: r["rows"]):
        share = {model: f"{found['value']:.1f}" for model, found in result["test"].items()}
        row = [
            f"{result['rows']:,}",
            f"{result['test']['teacher']['samples']:,}",
            share["teacher"],
            *([] if "alone" in compared else [share["alone"]]),
        ]
        for student in compared:
            paired = result["against_without"][student]
            gain = f"{paired['difference']:+.1f} ({paired['low']:+.1f} to {paired['high']:+.1f})"
            row += [share[f"{student}_without"], share[student], gain, f"{paired['p']:.2g}"]
        rows.append(row)
    return "\n\n".join([markdown_table(header, rows), origin_line(results, "torch")])


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    found = {choice: [r for r in results if r["change"] == choice] for choice in UNDONE}
    return {choice: table(own) for choice, own in found.items() if own}


def tell(result: Mapping[str, Any]) -> str:
    """What the models of a set came to."""
    return tell_test({"found": result})


def main() -> None:
    """Measures the sets that have no result yet, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choice", nargs="?", choices=[*UNDONE], default="pairings")
    parser.add_argument("--sets", nargs="+", type=Path, default=[], metavar="FOLDER")
    add_training_arguments(parser, "choices")
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    given = {"overrides": args.overrides, "runs": args.runs, "threads": args.threads}
    make_missing(
        args.results, [(f"{args.choice}-{folder.name}", partial(measure, args.choice, folder, **given)) for folder in args.sets], tell
    )


if __name__ == "__main__":
    run_program(main)
