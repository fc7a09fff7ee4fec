"""Do pairings help: small sets of pictures with questions, the recipe that `init` writes, with and without them, all else equal.

    python benchmarks/pairings.py --sets FOLDER... --threads 1     each with train.csv and test.csv; goes on where it was
    python benchmarks/pairings.py --publish                        puts the table into its document

Students are scored by torch on the test split, before quantization; both arms hear the same teacher, and the student alone is trained once.
Results lie in results/pairings, one file a set.
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

ARMS = {"pairings": (), "none": ("distill.augment.pairings=0", "distill.compare_alone=false")}
LIMIT_S = 1800.0  # of a run


def measure(folder: Path, *, overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The accuracies on one set, %, and the students with and without pairings compared row by row."""
    from compress.data.prepared import open_data
    from compress.measures.paired import compare_paired

    recipe, right, made = runs / f"{folder.name}.yaml", {}, {}
    runs.mkdir(parents=True, exist_ok=True)
    files = {split: path.resolve() for split in ("train", "test", "validation") if (path := folder / f"{split}.csv").is_file()}
    well(init(recipe, files, limit=LIMIT_S), f"init of {folder}")
    for arm, words in ARMS.items():
        name = f"{folder.name}-{arm}"
        changes = [f"name={name}", *words, *overrides]
        well(run(recipe, runs, limit=LIMIT_S, threads=threads, overrides=changes, until="distill"), name)
        made = artifacts_of(runs / name)
        distill, data = made["distill"], made["data"].path
        assert data
        test = open_data(data).split("test")
        for student, told in {"distilled": arm, "alone": "alone"}.items():
            if found := student_folder(distill, student):
                right[told] = float_logits(found, distill, test, threads=threads).argmax(1) == np.asarray(test.labels)
    teacher = made["teacher"]  # the same in both arms
    assert teacher.path
    right["teacher"] = float_logits(teacher.path, teacher, test, threads=threads, teacher=True).argmax(1) == np.asarray(test.labels)
    return {
        **origin(threads=threads),
        "set": folder.name,
        "rows": made["data"].details["splits"]["train"]["rows"],
        "test": {model: {"value": 100 * float(found.mean()), "samples": len(found), "unit": "%"} for model, found in right.items()},
        "pairings_against_none": compare_paired(right["pairings"], right["none"]).to_json(),
    }


def well(ended: Ended, what: str) -> None:
    """Raises CompressError with its last line where a process failed."""
    if ended.exit_code:
        raise CompressError(f"{what}: {(ended.lines or ['no word'])[-1]}")


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line a set, by its rows."""
    header = (
        "training rows",
        "teacher, %",
        "student alone",
        "distilled",
        "distilled with pairings",
        "points of pairings",
        "p",
        "test rows",
    )
    rows = []
    for result in sorted(results, key=lambda r: r["rows"]):
        test, paired = result["test"], result["pairings_against_none"]
        shares = [f"{test[model]['value']:.1f}" for model in ("teacher", "alone", "none", "pairings")]
        gain = f"{paired['difference']:+.1f} ({paired['low']:+.1f} to {paired['high']:+.1f})"
        rows.append([f"{result['rows']:,}", *shares, gain, f"{paired['p']:.2g}", f"{paired['samples']:,}"])
    return "\n\n".join([markdown_table(header, rows), origin_line(results, "torch")])


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"pairings": table(results)}


def tell(result: Mapping[str, Any]) -> str:
    """What the models of a set came to."""
    return tell_test({"found": result})


def main() -> None:
    """Measures the sets that have no result yet, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", type=Path, default=[], metavar="FOLDER")
    add_training_arguments(parser, "pairings")
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    given = {"overrides": args.overrides, "runs": args.runs, "threads": args.threads}
    make_missing(args.results, [(folder.name, partial(measure, folder, **given)) for folder in args.sets], tell)


if __name__ == "__main__":
    run_program(main)
