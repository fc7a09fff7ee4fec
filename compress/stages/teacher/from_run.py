"""A teacher that is the student of an earlier run: between a big one and a smaller student, or one of another set with the same labels."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch
from torch import nn

from compress.errors import RecipeError
from compress.io_spec import PRESENT
from compress.modalities.modality import modality
from compress.models.saved import load_model, save_model
from compress.stages.teacher.heard import columns_of
from compress.store.earlier import open_earlier
from compress.training.rows import model_io, teacher_words

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.io_spec import IOSpec
    from compress.recipe.recipe import Recipe


def from_run(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """That student as it was distilled, its last layer cut to the data's labels."""
    earlier = open_earlier(ctx.base / str(recipe.teacher.path), recipe.teacher.arm, place="teacher.path")
    theirs, (task, asked) = earlier.io, (earlier.config["data"]["task"], recipe.data.task)
    if (task, {*theirs.modalities} - {PRESENT}) != (asked, {*recipe.modalities}):
        reads = f"answers {task} from {' and '.join(theirs.modalities)}"
        raise RecipeError(f"teacher.path: the student of {earlier.run} {reads}; asked is {asked} from {' and '.join(recipe.modalities)}")
    for asset in (asset for m in recipe.modalities for asset in modality(m).assets):
        shutil.copyfile(earlier.artifact.file(asset), ctx.out / asset)
    io = model_io(data, teacher_words(recipe), ctx.out)
    if io.inputs != theirs.inputs:
        own, other = (", ".join(f"{p.name} {'x'.join(map(str, p.shape))}" for p in ports.inputs) for ports in (theirs, io))
        raise RecipeError(f"teacher.inputs: the student of {earlier.run} reads {own}, not {other}; leave teacher.inputs out")
    if io.outputs[0].grid != theirs.outputs[0].grid:
        raise RecipeError(
            f"teacher.path: the student of {earlier.run} answers for {theirs.outputs[0].grid} x {theirs.outputs[0].grid} places, not "
            f"{io.outputs[0].grid} x {io.outputs[0].grid}; set data.task_options.stride"
        )
    model = load_model(earlier.folder)
    if theirs.outputs[0].unit or not data.labels:
        if theirs.outputs != io.outputs:
            raise RecipeError(
                f"teacher.path: the student of {earlier.run} gives {theirs.outputs[0].shape[0]} numbers, not {io.outputs[0].shape[0]}"
            )
    else:
        keep_labels(model, columns_of(earlier.labels, data.labels, place="teacher.path"))
    described = json.loads((earlier.folder / "model.json").read_text())
    save_model(model, ctx.out, name=described["model"], options=described["options"], io=io)
    return model, io, {"run": str(recipe.teacher.path), "student": earlier.artifact.fingerprint}


@torch.no_grad()
def keep_labels(model: nn.Module, columns: list[int]) -> None:
    """Cuts a student's last layer to these of its labels, in this order."""
    head = model.get_submodule("head")
    layer = head.get_submodule("output")
    assert isinstance(layer, nn.Linear)
    cut = nn.Linear(layer.in_features, len(columns)).requires_grad_(layer.weight.requires_grad)
    cut.weight.copy_(layer.weight[columns])
    cut.bias.copy_(layer.bias[columns])
    head.output = cut
