"""Stage `alone`: the same student trained on the labels alone, which shows what the teacher is worth, and ships where that is nothing."""

from __future__ import annotations

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.recipe.recipe import Recipe
from compress.stages.distill.start import begin, require_labels, run, save_student
from compress.store.artifacts import Targets, TorchModel
from compress.tasks.labels import known
from compress.training.teaching import labels_alone, objective_for


def train_alone(recipe: Recipe, teacher: TorchModel, targets: Targets, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The student as a model folder, with its history; of the teacher it has what every student starts with, such as layers and words."""
    require_labels(data, "compare_alone")
    start = begin(recipe, teacher, targets, data, ctx)
    losses = labels_alone(recipe.distill.unaided, data)
    objective = objective_for(losses, start.model, start.unaided, with_teacher=False)
    history = run(recipe, start.model, start.unaided, start.check, data, ctx, "alone", objective=objective)
    save_student(start.model, ctx.out, recipe, start.io)
    samples = int(known(start.check.data.labels).sum())
    metrics = {"validation_accuracy": {"value": 100 * history.best, "unit": "%", "samples": samples}}
    return TorchModel(io_spec=start.io, metrics=metrics, details={**start.details, "history": history.to_json()})
