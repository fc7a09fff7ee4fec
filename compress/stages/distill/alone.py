"""Stage `alone`: the same student trained on the labels alone, which shows what the teacher is worth, and ships where that is nothing."""

from __future__ import annotations

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.recipe.needs import reads_teacher
from compress.recipe.recipe import Recipe
from compress.recipe.terms import Loss
from compress.stages.distill.start import begin, run, save_student
from compress.store.artifacts import Targets, TorchModel
from compress.tables import LOSSES
from compress.tasks.labels import known
from compress.training.teaching import objective_for


def train_alone(recipe: Recipe, teacher: TorchModel, targets: Targets, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The student as a model folder, with its history; of the teacher it has what every student starts with, such as layers and words."""
    start = begin(recipe, teacher, targets, data, ctx)
    objective = objective_for(labels_alone(recipe.distill.losses, data), start.model, start.unaided, with_teacher=False)
    history = run(recipe, start.model, start.unaided, start.check, data, ctx, "alone", objective=objective)
    save_student(start.model, ctx.out, recipe, start.io)
    samples = int(known(start.check.data.labels).sum())
    metrics = {"validation_accuracy": {"value": 100 * history.best, "unit": "%", "samples": samples}}
    return TorchModel(io_spec=start.io, metrics=metrics, details={**start.details, "history": history.to_json()})


def labels_alone(losses: list[Loss], data: PreparedData) -> list[Loss]:
    """The losses that need no teacher, or that of the task where the recipe has none."""
    return [loss for loss in losses if not reads_teacher(LOSSES[loss.name])] or [Loss.model_validate(term) for term in data.task.on_labels]
