"""Rounds (born-again networks, arXiv 1805.04770): each round's student teaches a fresh one like it, as long as validation gains by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from compress.context import Context
from compress.losses.objective import Objective
from compress.measures.ensemble import combine
from compress.measures.paired import compare_paired, describe_paired
from compress.recipe.recipe import Recipe
from compress.recipe.terms import Loss
from compress.store.arrays import allocate
from compress.store.artifacts import CHECKPOINT
from compress.training.answers import second_teacher
from compress.training.batches import Batches, Rows
from compress.training.teaching import Teaching, balance, objective_for

BLOCK = 4096  # rows combined at once


@dataclass(frozen=True)
class Round:
    """A student, what it was trained on, and how that went."""

    model: nn.Module
    objective: Objective
    history: dict[str, Any]


def further_rounds(
    recipe: Recipe,
    first: Round,
    taught: Teaching,
    *,
    fresh: Callable[[], nn.Module],
    train: Callable[[nn.Module, Rows, str, Objective], dict[str, Any]],
    gains: Callable[[nn.Module], np.ndarray],
    clusters: np.ndarray,
    one_of_many: bool,
    ctx: Context,
) -> tuple[Round, list[dict[str, Any]]]:
    """The student of the last round that was better than the one before on validation, and a line for each round.

    fresh: the student before its first step; train(model, rows, label, objective) gives its history; gains(model): (n,) how good its
    answers to the n labelled validation rows are, of which those of the same of `clusters` (n,) int are one draw of luck. The answers of
    all rounds are one by the mean of their probabilities where distill.round_teacher is ensemble.
    """
    best, best_gains = first, gains(first.model)
    lines: list[dict[str, Any]] = [{"round": 1, "validation": 100 * float(best_gains.mean())}]
    answers: list[np.ndarray] = []
    for number in range(2, recipe.distill.rounds + 1):
        folder = ctx.out / CHECKPOINT / f"round_{number}"
        rows = second_teacher(best.model, taught.rows, folder, alone=True)
        answers.append(np.asarray(rows.targets))
        if recipe.distill.round_teacher == "ensemble" and len(answers) > 1:
            rows = replace(rows, targets=together(answers, allocate(folder / "ensemble.npy", answers[0].shape, np.float16), one_of_many))
        model = fresh()
        objective = objective_for([Loss.model_validate(loss) for loss in taught.notes["losses"]], model, rows)
        batches = Batches(rows, recipe.distill.train.batch_size, seed=ctx.seed)
        if recipe.distill.balance:
            objective.scales = balance(model, batches.collect(np.arange(min(64, len(batches.groups)))), objective)
        tried = Round(model, objective, train(model, rows, f"round {number}", objective))
        found = gains(model)
        paired = compare_paired(found, best_gains, clusters=clusters)
        kept = paired.difference > 0
        lines.append({"round": number, "validation": 100 * float(found.mean()), "paired": paired.to_json(), "kept": kept})
        ctx.say(f"distill: {describe_round(lines[-1])}")
        if not kept:
            break
        best, best_gains = tried, found
    return best, lines


def together(answers: list[np.ndarray], out: np.ndarray, one_of_many: bool) -> np.ndarray:
    """The mean of the answers of several rounds, each (V, R, K), in `out`."""
    for view in range(len(out)):
        for start in range(0, out.shape[1], BLOCK):
            rows = slice(start, start + BLOCK)
            out[view, rows] = combine(np.stack([one[view, rows] for one in answers]).astype(np.float32), "mean", one_of_many=one_of_many)
    return out


def describe_round(line: dict[str, Any]) -> str:
    """One line of the log."""
    after = "is kept" if line["kept"] else "gains nothing, so it is the last, and the one before is kept"
    return f"round {line['round']} {line['validation']:.2f} % on validation ({describe_paired(line['paired'])}): it {after}"


def describe_rounds(lines: list[dict[str, Any]]) -> str:
    """All of them in a sentence for the report."""
    told = ", ".join(f"round {line['round']} {line['validation']:.2f} %" for line in lines)
    kept = max(line["round"] for line in lines if line.get("kept", True))
    verdicts = "; ".join(f"round {line['round']} against the one before {describe_paired(line['paired'])}" for line in lines[1:])
    return f"Each round's student taught the next, on validation: {told} ({verdicts}). Round {kept} is kept."
