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
from trial import Ended, artifacts_of, init, make_missing, run, student_folder, student_logits

from compress.errors import CompressError
from compress.store.artifacts import Artifact

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
        data = made["data"].path
        assert data
        test = open_data(data).split("test")
        for student, told in (("distilled", arm), *((("alone", "alone"),) if arm == "pairings" else ())):
            if found := student_folder(made["distill"], student):
                right[told] = student_logits(found, made["distill"], test, threads=threads).argmax(1) == np.asarray(test.labels)
        right["teacher"] = teacher_right(made, threads=threads)
    return {
        **origin(threads=threads),
        "set": folder.name,
        "rows": made["data"].details["splits"]["train"]["rows"],
        "test": {model: {"value": 100 * float(found.mean()), "samples": len(found), "unit": "%"} for model, found in right.items()},
        "pairings_against_none": compare_paired(right["pairings"], right["none"]).to_json(),
    }


def teacher_right(made: Mapping[str, Artifact], *, threads: int) -> np.ndarray:
    """(R,) bool: the test rows that the teacher answers right, by torch."""
    import torch

    from compress.data.prepared import open_data
    from compress.models.saved import load_model
    from compress.training.batches import Batches
    from compress.training.loop import predict
    from compress.training.rows import open_rows

    torch.set_num_threads(threads)
    teacher, data = made["teacher"], made["data"].path
    assert teacher.path and teacher.io_spec and data
    test = open_data(data).split("test")
    logits = predict(load_model(teacher.path), Batches(open_rows(test, teacher.io_spec, teacher.path, teacher=True), 50, shuffle=False))
    return logits.argmax(1) == np.asarray(test.labels)


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
    return ", ".join(f"{model} {share['value']:.1f} %" for model, share in result["test"].items())


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
