"""A teacher of two towers from a folder or a hub: a dual encoder whose own vectors are the space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compress.errors import RecipeError
from compress.models.dual import PARTS, dual_config, dual_tokenizer, open_dual, space_size
from compress.models.saved import save_model
from compress.models.towers import tower_size
from compress.models.transformers_model import try_out
from compress.stages.teacher.zero_shot import TOKENIZER, read_as_trained, require_whole

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.io_spec import IOSpec
    from compress.recipe.recipe import Recipe


def from_dual(folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """Both towers of the model in `folder`."""
    require_whole(folder)
    config = dual_config(folder)
    inputs = PARTS[config.model_type]
    if {*inputs} != {*recipe.modalities}:
        raise RecipeError(
            f"teacher: {folder}, a model of type {config.model_type}, reads {' and '.join(inputs)}, and the data has "
            f"{' and '.join(recipe.modalities)}; take another model, or source: fit"
        )
    dual_tokenizer(folder).save(str(ctx.out / TOKENIZER), pretty=False)
    reading, note, io = read_as_trained(folder, recipe, data, ctx)
    if (size := space_size(config)) != tower_size(io):
        raise RecipeError(f"data.task_options.size: {tower_size(io)}, but {folder} gives vectors of {size} numbers; set it to that")
    model, config = open_dual(folder, **reading)
    try_out(model, io, str(folder))
    config.save_pretrained(ctx.out / "config")
    save_model(model, ctx.out, name="dual_teacher", options={"config_folder": "config", **reading}, io=io)
    return model, io, {"architecture": (config.architectures or [config.model_type])[0], "note": note}
