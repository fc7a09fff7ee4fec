"""Which losses to distil with: one student a candidate, all else equal, scored on validation, so that the test split stays unseen.

    python benchmarks/losses.py --setting cifar10 -o data.train_limit=10000 -o distill.train.epochs=8      trains every candidate
    python benchmarks/losses.py --publish                                                                  puts the table into its document

Candidates share the stored teacher answers. Results lie in results/losses, one file a setting, candidate and seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from record import add_training_arguments, markdown_table, origin, origin_line, read_results, run_program, show_tables, spread, write_result
from students import SETTINGS, load_setting, say, train


def term(name: str, weight: float = 1.0, schedule: str = "constant", **options: float | str) -> dict[str, Any]:
    """One entry of `distill.losses`."""
    return {"name": name, "weight": weight, "schedule": schedule, "options": options}


HARD = term("cross_entropy")
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "alone": [HARD],  # on the labelled rows and fresh variants of them
    "kd T=2": [HARD, term("kd", temperature=2.0)],
    "kd T=4": [HARD, term("kd", temperature=4.0)],
    "kd T=2, labels 0.1": [term("cross_entropy", 0.1), term("kd", temperature=2.0)],
    "kd T=4, labels 0.1": [term("cross_entropy", 0.1), term("kd", temperature=4.0)],
    "dkd beta=2": [HARD, term("dkd", alpha=1.0, beta=2.0, temperature=4.0)],
    "dkd beta=8": [HARD, term("dkd", alpha=1.0, beta=8.0, temperature=4.0)],
    "dist": [HARD, term("dist", inter=2.0, intra=2.0)],
    "dist T=4": [HARD, term("dist", inter=1.0, intra=1.0, temperature=4.0)],
    "logit mse": [term("cross_entropy", 0.1), term("logit_mse", 0.5)],
    "kd standardised": [HARD, term("kd_standardised", temperature=2.0)],
    **{name: [HARD, term(name)] for name in ("hint", "cosine", "rkd_distance", "rkd_angle", "similarity", "pkt", "contrastive")},
    **{f"kd T=4, {name}": [HARD, term("kd", temperature=4.0), term(name)] for name in ("hint", "rkd_distance", "similarity", "cka")},
    "simkd": [term("simkd")],
    "kd T=4, modalities": [
        *(HARD, term("kd", temperature=4.0)),
        *(term("cosine", schedule="learned", tap=m) for m in ("image", "text")),
        term("affinity", schedule="learned", tap="image", other="text"),
    ],
    "simkd, labels and kd T=4": [HARD, term("kd", temperature=4.0), term("simkd")],
}


# what each modality says, before the fusion: (R, head_width) of a fitted teacher as of the student
TAPS = {m: {"student": f"head.project.{m}", "teacher": f"head.project.{m}"} for m in ("image", "text")}


def overrides_of(candidate: str) -> list[str]:
    """What the candidate changes in a recipe: its losses with their taps, and the last layer of the student where one needs the teacher's."""
    losses = CANDIDATES[candidate]
    kept = any(loss["name"] == "simkd" for loss in losses)
    taps = {name: TAPS[name] for loss in losses for key in ("tap", "other") if (name := loss["options"].get(key))}
    named = [f"distill.taps={json.dumps(taps)}"] if taps else []
    return [*named, f"distill.losses={json.dumps(losses)}", *(["student.classifier=teacher"] if kept else [])]


def measure(setting: str, candidate: str, seed: int, overrides: Sequence[str], *, runs: Path, threads: int) -> dict[str, Any]:
    """The result of one candidate: the best validation accuracy of its student, %."""
    own = ["distill.compare_alone=false", *overrides_of(candidate)]
    made = train(
        load_setting(setting, seed, [*overrides, *own], name=f"losses-{slug(candidate)}"),
        setting,
        runs=runs,
        threads=threads,
        last="distill",
    )
    student = made.artifacts["distill"]
    history = student.details["history"]
    return {
        **origin(threads=threads),
        "setting": setting,
        "candidate": candidate,
        "losses": CANDIDATES[candidate],
        "seed": seed,
        "overrides": list(overrides),
        "accuracy": student.metrics["validation_accuracy"],
        "steps": history["steps"],
        "best_step": history["best_step"],
        "seconds": round(history["seconds"], 1),
        "rows": made.artifacts["data"].details["splits"]["train"]["rows"],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table for each setting and its overrides, the best candidate first."""
    groups: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["setting"], tuple(result["overrides"])), []).append(result)
    parts = []
    for (setting, overrides), found in groups.items():
        title = f"{SETTINGS[setting].title}{' with ' + ', '.join(overrides) if overrides else ''}"
        parts.append(
            f"{title}: {found[0]['rows']:,} training rows, {found[0]['steps']:,} steps, {found[0]['accuracy']['samples']:,} validation rows."
        )
        parts.append(markdown_table(("losses", "validation accuracy, %", "seeds", "seconds"), candidate_rows(found)))
        parts.append(origin_line(found, "torch"))
    return "\n\n".join(parts)


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"losses": table(results)}


def candidate_rows(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One line a candidate, by falling mean accuracy; seconds are the mean of one training."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_name.setdefault(result["candidate"], []).append(result)
    lines = []
    for name, found in by_name.items():
        values = [r["accuracy"]["value"] for r in found]
        seconds = sum(r["seconds"] for r in found) / len(found)
        lines.append((-sum(values) / len(values), [name, spread(values), ", ".join(str(r["seed"]) for r in found), f"{seconds:.0f}"]))
    return [cells for _, cells in sorted(lines)]


def slug(candidate: str) -> str:
    """The candidate's name as part of a file name."""
    return "".join(c if c.isalnum() or c == "." else "_" for c in candidate)


def candidate_parser(document: str | None, candidates: Collection[str], *, results: str, seeds: list[int]) -> argparse.ArgumentParser:
    """The command line of a program that trains candidates in a setting."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="cifar10")
    parser.add_argument(
        "--only", nargs="+", choices=candidates, default=list(candidates), metavar="CANDIDATE", help=f"of {', '.join(candidates)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=seeds)
    add_training_arguments(parser, results)
    return parser


def train_candidates(args: argparse.Namespace, measure: Callable[..., dict[str, Any]], told: Callable[[dict[str, Any]], str]) -> None:
    """Writes the result of each seed and candidate, and says what `told` makes of it."""
    for seed in args.seeds:
        for candidate in args.only:
            result = measure(args.setting, candidate, seed, args.overrides, runs=args.runs, threads=args.threads)
            write_result(args.results / f"{args.setting}-{slug(candidate)}-{seed}.json", result)
            say(f"{args.setting} {candidate!r} seed {seed}: {told(result)}")


def main() -> None:
    """Trains the candidates, or prints or publishes the table."""
    args = candidate_parser(__doc__, CANDIDATES, results="losses", seeds=[0]).parse_args()
    if not show_tables(args, lambda: tables(read_results(args.results))):
        train_candidates(args, measure, lambda result: f"{result['accuracy']['value']:.2f} %")


if __name__ == "__main__":
    run_program(main)
