"""The recipes of tasks other than one of K labels: teacher, student alone, distilled and shipped on test, each in its task's own metrics.

    python benchmarks/tasks.py --data recipes --seeds 0 1 2        writes results/tasks/intents_embedding-0.json, ...
    python benchmarks/tasks.py --publish                           puts the table into its document

Both students see the same rows for as many steps (`distill.compare_alone`). A result that is there is not made again, and a run that was killed
goes on. `--data` is a folder that holds banking77 (train.csv and test.csv, columns text and category), fsdd.parquet (columns audio, label and
speaker) and stamps, the unpacked package; where they come from stands at the top of each recipe.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record import (
    ROOT,
    add_training_arguments,
    markdown_table,
    origin_line,
    read_results,
    run_program,
    show_tables,
    spread,
)
from trial import ARMS, float_logits, make_missing, student_folder, whole_run

from compress.store.artifacts import Artifact

if TYPE_CHECKING:
    from compress.tasks.task import Task

LIMIT_S = 24 * 3600.0


@dataclass(frozen=True)
class Asked:
    """A recipe: what its line is called, the options that name its data by their file in `--data`, and the metrics of its columns."""

    title: str
    data: Mapping[str, str]
    metrics: tuple[str, ...]


RECIPES = {
    "intents_embedding": Asked(
        "intents by nearest neighbour (BANKING77)",
        {"train": "banking77/train.csv", "test": "banking77/test.csv"},
        ("recall_at_1", "recall_at_10", "among_the_teacher_recall_at_1", "among_the_teacher_recall_at_10"),
    ),
    "speakers": Asked(
        "same speaker, five digits each (FSDD)",
        {"path": "fsdd.parquet"},
        ("pairs_told_right", "equal_error_rate", "among_the_teacher_equal_error_rate"),
    ),
    "segmentation_stamps": Asked(
        "stamps cut out of drawn scenes (Tux Paint)", {"path": "stamps"}, ("picture_iou", "mean_iou", "pixel_accuracy")
    ),
    "shapes": Asked("shape and colour (easy-VQA's pictures)", {}, ("mean_of_heads",)),
}


def measure(name: str, seed: int, *, data: Path, overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The result of one recipe and seed. Raises: CompressError where the run does not end in a bundle; its last lines are the message."""
    places = [f"data.options.{option}={(data / file).resolve()}" for option, file in RECIPES[name].data.items()]
    run_name, folder = f"{name}-{seed}", (runs / "tasks").resolve()
    changed = [*places, "distill.compare_alone=true", *overrides, f"seed={seed}"]
    made, told = whole_run(ROOT / "recipes" / f"{name}.yaml", folder, run_name, overrides=changed, limit=LIMIT_S, threads=threads)
    return {**told, "recipe": name, "seed": seed, "overrides": list(overrides), "found": judge(made, threads=threads)}


def judge(made: Mapping[str, Artifact], *, threads: int) -> dict[str, Any]:
    """Test figures of each arm by metric (fractions), and what the shipped file is beside the teacher: size and time.

    Teacher and shipped are files as the run measured them; both students are answered for by torch, each with what its own validation rows
    say of how to answer.
    """
    import numpy as np

    from compress.data.prepared import open_data

    measured = json.loads(made["benchmark"].file("measurements.json").read_text())
    summary = json.loads(made["report"].file("summary.json").read_text())
    distill, models = made["distill"], measured["models"]
    assert made["data"].path and distill.path
    data = open_data(made["data"].path)
    test, check = data.split("test"), data.split("validation")
    with np.load(made["benchmark"].file("predictions.npz")) as stored:
        rows, teacher = stored["rows"], stored["model_teacher"]
    labels, arms = np.asarray(test.labels)[rows], {}
    for arm, model in (("teacher", models["teacher"]), ("shipped", models[summary["shipped_model"]])):
        told = {metric: entry["value"] for metric, entry in model["metrics"].items()}
        arms[arm] = {data.task.metric: model["accuracy"]["value"], **told}
    for arm in ("alone", "distilled"):
        folder = student_folder(distill, arm)
        assert folder
        logits = float_logits(folder, distill, check, threads=threads)
        task = data.task.with_facts(data.task.fit(logits, np.asarray(check.labels)))
        arms[arm] = describe(task, float_logits(folder, distill, test, threads=threads)[rows], labels, teacher)
    return {
        "samples": len(rows),
        "measure": data.task.measure,
        "arms": {arm: arms[arm] for arm in ARMS},
        "against_teacher": models[summary["shipped_model"]]["accuracy"].get("against_teacher"),
        "int8": {name: m["accuracy"] for name, m in models.items() if m["role"] == "student" and m["precision"].startswith("int8")},
        "fp32": models["fp32"]["accuracy"],
        "validation": distill.details.get("comparison"),
        "shipped": {"file": summary["shipped_model"], "arm": distill.details["shipped_arm"], "size_bytes": summary["shipped_size_bytes"]},
        "teacher_size_bytes": summary["teacher_size_bytes"],
        "shipped_latency_ms": summary["shipped_latency_ms"],
        "teacher_latency_ms": summary["teacher_latency_ms"],
        "latency_ratio": summary["shipped_latency_ratio"],
    }


def describe(task: Task, logits: Any, labels: Any, teacher: Any) -> dict[str, float]:
    """Every metric of a student's logits (R, K), and what its answers are worth beside the teacher's."""
    answers = task.answers(logits)
    values = {name: float(metric.compute(logits, labels)) for name, metric in task.metrics.items()}
    return {**values, **task.together(answers, teacher, labels), task.metric: float(task.gains(answers, labels).mean())}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each recipe and metric: mean and standard deviation over the seeds; gains are differences of the same seed."""
    header = (
        "test, %",
        "metric",
        "test rows",
        "seeds",
        "teacher",
        "student alone",
        "distilled",
        "gain, points",
        "shipped",
        "kB",
        "smaller",
        "ms, batch 1",
        "faster",
    )
    lines = []
    for name, asked in RECIPES.items():
        found = [r for r in results if r["recipe"] == name and not r["overrides"]]
        told = [m for m in asked.metrics if all(m in values for r in found for values in r["found"]["arms"].values())] if found else []
        lines += [table_row(asked.title, metric, found, first=metric == told[0]) for metric in told]
    return f"{markdown_table(header, lines)}\n\n{origin_line(results, 'torch')}"


def table_row(title: str, metric: str, results: Sequence[dict[str, Any]], *, first: bool) -> list[str]:
    """One metric of one recipe; what holds for the recipe stands in its first line alone."""
    found = [r["found"] for r in results]
    values = {arm: [100 * f["arms"][arm][metric] for f in found if f["arms"][arm][metric] is not None] for arm in ARMS}
    gains = [distilled - alone for distilled, alone in zip(values["distilled"], values["alone"], strict=True)]
    sizes, ratios = [f["shipped"]["size_bytes"] for f in found], [f["latency_ratio"] for f in found]
    of_recipe = [
        f"{sum(sizes) / len(sizes) / 1e3:.0f}",
        f"{found[0]['teacher_size_bytes'] * len(sizes) / sum(sizes):.0f}x",
        spread([f["shipped_latency_ms"] for f in found]),
        f"{sum(ratios) / len(ratios):.0f}x",
    ]
    return [
        title if first else "",
        metric.replace("_", " "),
        f"{found[0]['samples']:,}",
        ", ".join(str(r["seed"]) for r in results),
        *(spread(values[arm]) for arm in ("teacher", "alone", "distilled")),
        spread(gains, signed=True),
        spread(values["shipped"]),
        *(of_recipe if first else [""] * len(of_recipe)),
    ]


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"tasks": table(results)}


def main() -> None:
    """Runs the recipes, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="RECIPE", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="the folder with the data sets")
    add_training_arguments(parser, "tasks")
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    if not args.data:
        parser.error("give --data")
    settings = {"data": args.data, "overrides": args.overrides, "runs": args.runs, "threads": args.threads}
    wanted = ((f"{name}-{seed}", partial(measure, name, seed, **settings)) for seed in args.seeds for name in args.only)
    make_missing(args.results, wanted, tell)


def tell(result: Mapping[str, Any]) -> str:
    """The first metric of each arm."""
    first = RECIPES[result["recipe"]].metrics[0]
    return f"{first}: " + ", ".join(f"{arm} {100 * values[first]:.2f} %" for arm, values in result["found"]["arms"].items())


if __name__ == "__main__":
    run_program(main)
