"""Teacher, student alone, distilled student and its int8 forms on the test split: three settings, three seeds, same data and steps in both arms.

    python benchmarks/students.py --only cifar10 --seeds 0 1 2 --threads 1     trains, writes results/students/cifar10-0.json, ...
    python benchmarks/students.py --table                                      prints the tables of all results
    python benchmarks/students.py --publish                                    puts them into the documents that have their markers

Several processes may share the work, each with its own `--only` or `--seeds`, and one `--runs` folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
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
    write_result,
)

from compress.pipeline import RunResult, run
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

FLOAT = ("teacher", "alone", "distilled")
INT8 = ("int8_ptq", "int8_qat")  # of the student that ships, the distilled one unless the other is better; fake-quantized
ARMS = (*FLOAT, *INT8)
CONFIG = ("data", "student", "distill", "quantize")  # parts of the recipe that a result belongs to


@dataclass(frozen=True)
class Setting:
    """A recipe, relative to the repository, with what is changed in it."""

    recipe: str
    title: str
    overrides: tuple[str, ...] = ()


SETTINGS = {
    "easy_vqa_100": Setting("recipes/mobile_vqa.yaml", "easy-VQA, all labels"),
    "easy_vqa_5": Setting("recipes/mobile_vqa.yaml", "easy-VQA, labels for 5 % of the images", ("data.labelled_fraction=0.05",)),
    "cifar10": Setting("benchmarks/recipes/cifar10.yaml", "CIFAR-10"),
}


def load_setting(setting: str, seed: int, overrides: Sequence[str] = (), *, name: str = "students") -> LoadedRecipe:
    """The setting's recipe with its own run name and this seed; later overrides win."""
    chosen = SETTINGS[setting]
    own = [*chosen.overrides, "distill.compare_alone=true", *overrides, f"seed={seed}", f"name={name}-{setting}-{seed}"]
    return load_recipe(ROOT / chosen.recipe, own)


def train(loaded: LoadedRecipe, setting: str, *, runs: Path, threads: int, last: str) -> RunResult:
    """The chain until stage `last`. What seeds share is made under a lock, so that a second process waits for it."""
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / f".{setting}.lock"):
        run(loaded, runs=runs, threads=threads, last="targets", say=say)
    return run(loaded, runs=runs, threads=threads, last=last, say=say)


def measure(setting: str, seed: int, overrides: Sequence[str], *, runs: Path, threads: int) -> dict[str, Any]:
    """The result of one setting and seed; accuracies are percentages of the labelled test rows."""
    loaded = load_setting(setting, seed, overrides)
    made = train(loaded, setting, runs=runs, threads=threads, last="quantize")
    right = {arm: score(made, arm, loaded.recipe) for arm in ARMS}
    reworded = {arm: score(made, arm, loaded.recipe, reworded=True) for arm in FLOAT} if loaded.recipe.data.paraphrases else {}
    student, seconds = made.artifacts["distill"], {name: round(a.seconds, 1) for name, a in made.artifacts.items()}
    history, alone = student.details["history"], student.details["history_alone"]
    return {
        **origin(threads=threads, libraries=("torch", "transformers", "numpy")),
        "setting": setting,
        "seed": seed,
        "recipe": SETTINGS[setting].recipe,
        "overrides": list(overrides),
        "config": {part: getattr(loaded.recipe, part).model_dump(mode="json") for part in CONFIG},
        "samples": len(right["teacher"]),
        "accuracy": {arm: percent(hits) for arm, hits in right.items()},
        "reworded": {arm: {**percent(hits), "samples": len(hits)} for arm, hits in reworded.items()},
        "only_distilled_right": int((right["distilled"] & ~right["alone"]).sum()),
        "only_alone_right": int((right["alone"] & ~right["distilled"]).sum()),
        "parameters": {"teacher": made.artifacts["teacher"].details["parameters"], "student": student.details["parameters"]},
        "steps": {"distilled": history["steps"], "alone": alone["steps"]},
        "seconds": {"stages": seconds, "distilled": round(history["seconds"], 1), "alone": round(alone["seconds"], 1)},
        "validation": student.details["comparison"],
        "rows": made.artifacts["data"].details["splits"]["train"]["rows"],
        "labelled_rows": made.artifacts["data"].details["splits"]["train"]["labelled_rows"],
    }


def percent(hits: np.ndarray) -> dict[str, Any]:
    """The share of right answers as a result holds it: hits (R,) bool."""
    return {"value": 100 * float(hits.mean()), "correct": int(hits.sum()), "unit": "%"}


def score(made: RunResult, arm: str, recipe: Recipe, *, reworded: bool = False) -> np.ndarray:
    """(R,) bool: which labelled test rows the arm answers right, by torch; `reworded`: those with a paraphrase, asked in its words."""
    from compress.data.prepared import open_data
    from compress.training.batches import Batches
    from compress.training.loop import predict
    from compress.training.rows import in_other_words, open_rows

    artifact = made.artifacts["teacher" if arm == "teacher" else "distill"]
    assert artifact.path and artifact.io_spec
    data = open_data(folder_of(made, "data"))
    test = data.split("test")
    rows = open_rows(test, artifact.io_spec, artifact.path, teacher=arm == "teacher")
    known = np.asarray(rows.labels >= 0)
    if reworded:
        rows, known = in_other_words(rows, test, data, artifact.io_spec, artifact.path)
    logits = predict(open_arm(made, arm, recipe), Batches(rows, 50, shuffle=False, keep=known))
    return data.task.gains(data.task.answers(logits[known]), rows.labels[known])


def open_arm(made: RunResult, arm: str, recipe: Recipe) -> nn.Module:
    """The arm's model, in eval mode."""
    from compress.models.saved import load_model
    from compress.quantizers.saved import open_quantized

    if arm == "teacher":
        return load_model(folder_of(made, "teacher"))
    student = folder_of(made, "distill")
    if arm in INT8:
        assert recipe.quantize
        return open_quantized(student, folder_of(made, "quantize") / arm.removeprefix("int8_"), recipe.quantize)
    return load_model(student if arm == made.artifacts["distill"].details["shipped_arm"] else student / arm)


def folder_of(made: RunResult, stage: str) -> Path:
    """Where the stage's artifact lies."""
    path = made.artifacts[stage].path
    assert path
    return path


def table(results: Sequence[dict[str, Any]]) -> str:
    """The Markdown table, one line a setting, and below it where the figures come from."""
    rows = [table_row(name, found) for name in SETTINGS if (found := [r for r in results if r["setting"] == name])]
    header = (
        "test accuracy, %",
        "test rows",
        "seeds",
        "steps",
        "teacher",
        "student alone",
        "distilled",
        "gain, points",
        "gain by seed",
        "in other words: teacher, alone, distilled",
        "int8 PTQ",
        "int8 QAT",
        "seconds",
    )
    return f"{markdown_table(header, rows)}\n\n{standing(results)}"


def table_row(name: str, results: Sequence[dict[str, Any]]) -> list[str]:
    """One setting: mean ± standard deviation over the seeds; gains are differences of the same seed; seconds of both float trainings."""
    results = sorted(results, key=lambda r: r["seed"])
    values = {arm: [r["accuracy"][arm]["value"] for r in results] for arm in ARMS}
    gains = [distilled - alone for distilled, alone in zip(values["distilled"], values["alone"], strict=True)]
    seconds, _ = mean_and_deviation([r["seconds"]["distilled"] for r in results])
    seconds_alone, _ = mean_and_deviation([r["seconds"]["alone"] for r in results])
    return [
        f"{SETTINGS[name].title} (student {results[0]['parameters']['student'] / 1e3:.0f} k parameters)",
        ", ".join(f"{n:,}" for n in sorted({r["samples"] for r in results})),
        ", ".join(str(r["seed"]) for r in results),
        ", ".join(f"{n:,}" for n in sorted({steps for r in results for steps in r["steps"].values()})),
        *(spread(values[arm]) for arm in FLOAT),
        spread(gains, signed=True),
        ", ".join(f"{gain:+.2f}" for gain in gains),
        ", ".join(spread([r["reworded"][arm]["value"] for r in results]) for arm in FLOAT) if results[0].get("reworded") else "-",
        *(spread(values[arm]) for arm in INT8),
        f"{seconds:.0f} and {seconds_alone:.0f}",
    ]


def summary(results: Sequence[dict[str, Any]]) -> str:
    """The short table: what the teacher gives, a line a setting, and one more for its questions in other words."""
    rows, every = [], sorted({str(r["seed"]) for r in results})
    for name in SETTINGS:
        found = [r for r in results if r["setting"] == name]
        for key in ("accuracy", "reworded"):
            if not found or not found[0].get(key):
                continue
            values = {arm: [r[key][arm]["value"] for r in found] for arm in FLOAT}
            gains = [distilled - alone for distilled, alone in zip(values["distilled"], values["alone"], strict=True)]
            own = [str(r["seed"]) for r in found]
            title = (
                SETTINGS[name].title
                + (", in other words" if key == "reworded" else "")
                + (f", seeds {', '.join(own)}" if own != every else "")
            )
            int8 = [r[key]["int8_qat"]["value"] for r in found if "int8_qat" in r[key]]
            rows.append([title, *(spread(values[arm]) for arm in FLOAT), spread(gains, signed=True), spread(int8) if int8 else "-"])
    header = (f"test accuracy, %, seeds {', '.join(every)}", "teacher", "student alone", "distilled", "gain, points", "in trained int8")
    return f"{markdown_table(header, rows)}\n\n{standing(results)}"


def standing(results: Sequence[dict[str, Any]]) -> str:
    """Where the figures come from, and what has changed since in what they are figures of."""
    since = dict.fromkeys(r["superseded"] for r in results if "superseded" in r)
    return " ".join([origin_line(results, "torch"), *(f"Since then {change}." for change in since)])


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"students": table(results), "students-summary": summary(results)}


def say(line: str) -> None:
    """A line of progress; the tables alone go to standard output."""
    print(line, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_training_arguments(parser, "students")
    return parser.parse_args(arguments)


def main() -> None:
    """Trains and measures, or prints or publishes the tables."""
    args = parse()
    if not show_tables(args, lambda: tables(read_results(args.results))):
        for seed in args.seeds:
            for setting in args.only:
                result = measure(setting, seed, args.overrides, runs=args.runs, threads=args.threads)
                write_result(args.results / f"{setting}-{seed}.json", result)
                say(f"{setting} seed {seed}: " + ", ".join(f"{arm} {result['accuracy'][arm]['value']:.2f} %" for arm in ARMS))


if __name__ == "__main__":
    run_program(main)
