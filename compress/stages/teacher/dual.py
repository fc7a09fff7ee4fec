"""A teacher of two towers from a folder or a hub: a dual encoder whose own vectors are the space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compress.errors import RecipeError
from compress.models.dual import open_dual
from compress.models.processors import read_processor
from compress.models.saved import save_model
from compress.models.towers import tower_size
from compress.models.transformers_model import try_out
from compress.stages.teacher.zero_shot import require_whole, write_tokenizer
from compress.training.rows import model_io, teacher_words

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.io_spec import IOSpec
    from compress.recipe.recipe import Recipe


def from_dual(folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """Both towers of the model in `folder`."""
    require_whole(folder)
    write_tokenizer(folder, ctx.out)
    io = model_io(data, teacher_words(recipe), ctx.out)
    processor = read_processor(folder, size=next(port.shape[0] for port in io.inputs if len(port.shape) == 3))
    if processor.note:
        ctx.say(f"teacher: {processor.note}")
    colours = {"mean": processor.mean, "deviation": processor.deviation}
    model, config = open_dual(folder, **colours)
    if (size := config.projection_dim) != tower_size(io):
        raise RecipeError(f"data.task_options.size: {tower_size(io)}, but {folder} gives vectors of {size} numbers; set it to that")
    try_out(model, io, str(folder))
    config.save_pretrained(ctx.out / "config")
    save_model(model, ctx.out, name="dual_teacher", options={"config_folder": "config", **colours}, io=io)
    return model, io, {"architecture": "CLIPModel", "note": processor.note}
