"""How a student is taught: by stored answers or by the teacher itself, with which losses, and how large each term may be at the start.

What is chosen by measuring is written down beside the checkpoints, so that a killed run goes on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.io_spec import Head
from compress.losses.objective import Objective, labels_of, starting_scales
from compress.modalities.further import read_further
from compress.models.towers import vectors_of
from compress.placement import CPU, ask, device_of, move
from compress.ranks.group import here
from compress.recipe.needs import hidden_states, without_teacher
from compress.recipe.recipe import Recipe
from compress.recipe.schedule import total_steps
from compress.recipe.sections import Loss
from compress.store.artifacts import CHECKPOINT
from compress.tasks.labels import known
from compress.training.batches import Batch, Batches, Rows, scheduled_batches
from compress.training.frozen import frozen, parts_that_stay
from compress.training.live import open_live, student_seconds, teacher_seconds
from compress.training.loop import train
from compress.training.pilots import FOLDS, arenas, plan_pilots
from compress.training.views import draw_views, mixes

PROJECTIONS = "projections.safetensors"
Run = Callable[..., Any]


@dataclass(frozen=True)
class Teaching:
    """Rows with a teacher, stored or live; the losses with the factors of their terms."""

    rows: Rows
    objective: Objective
    notes: dict[str, Any]  # what was chosen and why, as the report tells it


def choose_teaching(
    recipe: Recipe,
    fresh: Callable[[], nn.Module],
    rows: Rows,
    check: Batches,
    *,
    teacher: Path,
    targets: Path,
    data: PreparedData,
    ctx: Context,
) -> Teaching:
    """How the student is taught. `rows` hold the stored answers; `fresh()` is the student before its first step; `targets`: their folder."""
    noted = here().same(_read(ctx.out))
    config, views = recipe.distill, draw_views(recipe)
    if config.teacher != "stored" and noted.get("teacher") != "stored":
        live = open_live(teacher, data.split("train"), read_further(targets), config.teacher_taps, device=ctx.device)
        taught = replace(rows, targets=None, live=live, views=replace(rows.views, fresh=views.fresh))
        if "teacher" not in noted:
            noted |= here().from_first(lambda: _weigh(config.teacher, taught, fresh, ctx))
        rows = taught if noted["teacher"] == "live" else rows
    batches = Batches(rows, config.train.batch_size, seed=ctx.seed)
    model, batch = fresh(), batches.collect(np.arange(min(64, len(batches.groups))))
    if "losses" not in noted:
        losses, told = choose_losses(recipe, fresh, rows, check, batch, data=data, ctx=ctx)
        noted |= {"losses": [loss.model_dump(mode="json") for loss in losses], **told}
    losses = [Loss.model_validate(loss) for loss in noted["losses"]]
    objective = objective_for(losses, model, rows)
    if "scales" not in noted:
        noted["scales"] = here().same(balance(model, batch, objective)) if config.balance else {}
        _write(ctx.out, noted)
    objective.scales = noted["scales"]
    return Teaching(rows, objective, {name: value for name, value in noted.items() if value})


def choose_losses(
    recipe: Recipe, fresh: Callable[[], nn.Module], rows: Rows, check: Batches, batch: Batch, *, data: PreparedData, ctx: Context
) -> tuple[list[Loss], dict[str, Any]]:
    """The recipe's losses, or under `objective: auto` those that taught best in pilots (see pilots.py); and what is told of it."""
    own = recipe.distill.losses
    if recipe.distill.objective == "losses":
        return own, {}
    rivals = rivals_of(own, data)
    batches, config = scheduled_batches(rows, recipe.distill.train, label="pilots", ctx=ctx)
    validation, trained = (int(known(labels).sum()) for labels in (check.data.labels, rows.labels))
    plan = plan_pilots(total_steps(config, batches.steps), len(rivals), validation=validation, train=trained)
    if isinstance(plan, str):
        ctx.say(f"distill: the recipe's losses teach: {plan}")
        return own, {"objective": f"the recipe's losses, because {plan}"}
    scores = {}
    for name in [*rivals][: plan.rivals]:
        found = []
        for fold, arena in enumerate(arenas(rows, check, batches, plan, data=data)):
            model = fresh()
            objective = objective_for(rivals[name], model, rows)
            objective.scales = balance(model, batch, objective) if recipe.distill.balance else {}
            once = {"min_steps": plan.steps, "max_steps": plan.steps, "validate_every": plan.steps / arena.batches.steps}
            short = config.model_copy(update={**once, "patience": None, "trackers": []})
            label = f"pilot {name}".replace("/", "-") + (f", fold {fold}" if plan.folds else "")
            with frozen(parts_that_stay(recipe, model)):
                history = train(model, arena.batches, objective=objective, config=short, ctx=ctx, validate=arena.marks, label=label)
            found.append(history.best)
        scores[name] = sum(found) / len(found)
    best = max(scores, key=lambda name: scores[name])  # the first of equals: the recipe's own
    told = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items())
    where = f" on {plan.folds} of {FOLDS} folds of the training rows, because validation has {validation:,}" if plan.folds else ""
    ctx.say(f"distill: pilots of {plan.steps} steps{where}: {told}; {best} teaches")
    return rivals[best], {"objective": f"{best} of {told} in pilots of {plan.steps} steps{where}", "pilots": scores}


def labels_alone(losses: list[Loss], data: PreparedData) -> list[Loss]:
    """Those of the losses that need no teacher, or the task's where there is none."""
    return without_teacher(losses) or [Loss.model_validate(term) for term in data.task.on_labels]


def rivals_of(own: list[Loss], data: PreparedData) -> dict[str, list[Loss]]:
    """The recipe's losses, and by name the task's teacher terms beside those of labels; none that is the recipe's own."""
    labels = labels_alone(own, data)
    others = {name: [*labels, Loss.model_validate(loss)] for name, loss in data.task.rivals.items()}
    same = [loss.model_dump() for loss in own]
    return {"the recipe's": own} | {name: losses for name, losses in others.items() if [loss.model_dump() for loss in losses] != same}


@torch.no_grad()
def objective_for(losses: list[Loss], model: nn.Module, rows: Rows, *, with_teacher: bool = True) -> Objective:
    """The losses for this student and these rows: with projections where hidden states differ in width, and with the labels counted."""
    batches, states = Batches(rows, 1), hidden_states(losses)
    batch, was = batches.collect(np.arange(min(2, len(batches.groups)))), model.training
    model.eval()
    student, teacher = ask(model, batch.inputs, batch.rows), batch.teacher
    model.train(was)
    pairs = {name: (student.at(name), teacher.at(name)) for name in states if teacher is not None}
    widths = {name: (s.shape[1], t.shape[1]) for name, (s, t) in pairs.items() if s is not None and t is not None}
    counts, given = count_labels(np.asarray(rows.labels), rows.heads, student.logits.shape[1]), vectors_of(model)
    return Objective(losses, with_teacher=with_teacher, widths=widths, counts=counts, heads=rows.heads, **given)


def count_labels(labels: np.ndarray, heads: Sequence[Head], outputs: int) -> torch.Tensor | None:
    """(K,) labelled rows, or places of rows, of each of K labels, and of each of several heads that are of one of K; None, or 0, of other answers."""
    if heads:
        counts = torch.zeros(outputs, dtype=torch.int64)
        for head in heads:
            if head.kind == "place":
                own = labels_of(head, torch.from_numpy(labels.astype(np.float32)))
                counts[head.logits] = torch.bincount(own[own >= 0], minlength=head.outputs)
        return counts
    if labels.ndim in (1, 3) and labels.dtype.kind in "iu":
        classes = outputs // labels[0].size
        return torch.from_numpy(np.bincount(labels[labels >= 0], minlength=classes)[:classes])
    return None


@torch.no_grad()
def balance(model: nn.Module, batch: Batch, objective: Objective) -> dict[str, float]:
    """The factors of `starting_scales` for a fresh student on one batch with its teacher's answers."""
    model.eval()
    device = device_of(model)
    batch = batch.to(device)
    outputs = model(batch.inputs, batch.rows)
    _, parts = objective.to(device)(outputs, batch.teacher, batch.labels, batch.mixed, shift=batch.shift, answered=batch.answered)
    return starting_scales(objective, parts)


def save_projections(objective: Objective, folder: Path) -> None:
    """Writes what the losses have learnt for themselves, such as projections: it is no part of the student, and its int8 form goes on with it."""
    if state := objective.state_dict():
        save_file(move(state, CPU), folder / PROJECTIONS)


def load_projections(objective: Objective, folder: Path) -> None:
    """Puts back what `save_projections` wrote of the same losses; nothing where there is none."""
    if (folder / PROJECTIONS).is_file() and objective.state_dict():
        objective.load_state_dict(load_file(folder / PROJECTIONS))


def _weigh(asked: str, rows: Rows, fresh: Callable[[], nn.Module], ctx: Context) -> dict[str, Any]:
    if not rows.views.fresh:
        return {"teacher": "stored", "why": "inputs have no variants without end"}
    if mixes(rows.views.fresh[0]):
        return {"teacher": "live", "why": "mixed inputs have no stored answers"}
    if asked == "live":
        return {"teacher": "live", "why": "the recipe says so"}
    teacher, student = teacher_seconds(rows), student_seconds(fresh(), rows)
    chosen = "live" if teacher <= student else "stored"
    why = f"the teacher takes {1000 * teacher:.0f} ms a batch where the student takes {1000 * student:.0f}"
    ctx.say(f"distill: {chosen} teacher: {why}")
    return {"teacher": chosen, "why": why}


def _read(out: Path) -> dict[str, Any]:
    path = out / CHECKPOINT / "teaching.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(out: Path, noted: dict[str, Any]) -> None:
    path = out / CHECKPOINT / "teaching.json"
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".partial").write_text(json.dumps(noted))
    os.replace(path.with_suffix(".partial"), path)
