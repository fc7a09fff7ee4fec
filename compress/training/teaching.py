"""How a student is taught: by stored answers or by the teacher itself, with which losses, and how large each term may be at the start.

What is chosen by measuring is written down beside the checkpoints, so that a killed run goes on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.losses.objective import Objective, starting_scales
from compress.modalities.wordings import read_wordings
from compress.recipe.needs import hidden_states, reads_teacher
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Loss
from compress.store.artifacts import CHECKPOINT
from compress.tables import LOSSES
from compress.tasks.labels import known
from compress.training.batches import Batch, Batches, Rows, scheduled_batches
from compress.training.live import open_live, student_seconds, teacher_seconds
from compress.training.loop import predict, train
from compress.training.schedule import total_steps
from compress.training.views import draw_views, mixes

PILOT_SHARE, PILOT_STEPS = 0.08, 60  # of a training's steps, and at least so many
FEW_ROWS = 200  # a validation split with fewer labelled rows does not choose
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
    noted = _read(ctx.out)
    config, views = recipe.distill, draw_views(recipe)
    if config.teacher != "stored" and noted.get("teacher") != "stored":
        live = open_live(teacher, data.split("train"), read_wordings(targets), config.teacher_taps)
        taught = replace(rows, targets=None, live=live, views=replace(rows.views, fresh=views.fresh))
        if "teacher" not in noted:
            noted |= _weigh(config.teacher, taught, fresh, ctx)
        rows = taught if noted["teacher"] == "live" else rows
    batches = Batches(rows, config.train.batch_size, seed=ctx.seed)
    model, batch = fresh(), batches.collect(np.arange(min(64, len(batches.groups))))
    if "losses" not in noted:
        losses, told = choose_losses(recipe, fresh, rows, check, batch, data=data, ctx=ctx)
        noted |= {"losses": [loss.model_dump(mode="json") for loss in losses], **told}
    losses = [Loss.model_validate(loss) for loss in noted["losses"]]
    objective = objective_for(losses, model, rows)
    if "scales" not in noted:
        noted["scales"] = balance(model, batch, objective) if config.balance else {}
        _write(ctx.out, noted)
    objective.scales = noted["scales"]
    return Teaching(rows, objective, {name: value for name, value in noted.items() if value})


def choose_losses(
    recipe: Recipe, fresh: Callable[[], nn.Module], rows: Rows, check: Batches, batch: Batch, *, data: PreparedData, ctx: Context
) -> tuple[list[Loss], dict[str, Any]]:
    """The recipe's losses, or under `objective: auto` those that taught best in a pilot of PILOT_SHARE of the steps; and what is told of it."""
    own = recipe.distill.losses
    labelled = int(known(check.data.labels).sum())
    if recipe.distill.objective == "losses":
        return own, {}
    if labelled < FEW_ROWS:
        return own, {"objective": f"the recipe's losses, because {labelled} validation rows are too few to choose by"}
    labels = [loss for loss in own if not reads_teacher(LOSSES[loss.name])] or [Loss(name=data.task.losses[0])]
    others = {name: Loss.model_validate(loss) for name, loss in data.task.rivals.items()}
    rivals = {"the recipe's": own, **{name: [*labels, loss] for name, loss in others.items()}}
    batches, config = scheduled_batches(rows, recipe.distill.train, label="pilots", ctx=ctx)
    steps, scores = max(PILOT_STEPS, round(PILOT_SHARE * total_steps(config, batches.steps))), {}
    short = config.model_copy(
        update={"min_steps": steps, "max_steps": steps, "validate_every": steps / batches.steps, "patience": None, "trackers": []}
    )
    for name, losses in rivals.items():
        model = fresh()
        objective = objective_for(losses, model, rows)
        objective.scales = balance(model, batch, objective) if recipe.distill.balance else {}
        label = f"pilot {name}".replace("/", "-")
        train(
            model,
            batches,
            objective=objective,
            config=short,
            ctx=ctx,
            validate=lambda m: data.task.score(predict(m, check), check.data.labels),
            label=label,
        )
        scores[name] = data.task.score(predict(model, check), np.asarray(check.data.labels))
    best = max(scores, key=lambda name: scores[name])  # the first of equals: the recipe's own
    told = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items())
    ctx.say(f"distill: pilots of {steps} steps: {told}; {best} teaches")
    return rivals[best], {"objective": f"{best} of {told} in pilots of {steps} steps", "pilots": scores}


@torch.no_grad()
def objective_for(losses: list[Loss], model: nn.Module, rows: Rows, *, with_teacher: bool = True) -> Objective:
    """The losses for this student and these rows: with projections where hidden states differ in width, and with the labels counted."""
    batches, states = Batches(rows, 1), hidden_states(losses)
    batch, was = batches.collect(np.arange(min(2, len(batches.groups)))), model.training
    model.eval()
    student, teacher = model(batch.inputs, batch.rows), batch.teacher
    model.train(was)
    pairs = {name: (student.at(name), teacher.at(name)) for name in states if teacher is not None}
    widths = {name: (s.shape[1], t.shape[1]) for name, (s, t) in pairs.items() if s is not None and t is not None}
    labels = np.asarray(rows.labels)
    counts = None  # of one of K labels
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        counts = torch.from_numpy(np.bincount(labels[labels >= 0], minlength=student.logits.shape[1]))
    return Objective(losses, with_teacher=with_teacher, widths=widths, counts=counts)


@torch.no_grad()
def balance(model: nn.Module, batch: Batch, objective: Objective) -> dict[str, float]:
    """The factors of `starting_scales` for a fresh student on one batch with its teacher's answers."""
    model.eval()
    _, parts = objective(
        model(batch.inputs, batch.rows), batch.teacher, batch.labels, batch.mixed, shift=batch.shift, answered=batch.answered
    )
    return starting_scales(objective, parts)


def save_projections(objective: Objective, folder: Path) -> None:
    """Writes what the losses have learnt for themselves, such as projections: it is no part of the student, and its int8 form goes on with it."""
    if state := objective.state_dict():
        save_file(state, folder / PROJECTIONS)


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
