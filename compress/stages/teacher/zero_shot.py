"""A teacher that was never shown a label: a dual encoder from a folder or a hub, which compares an input with prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compress.errors import DependencyError
from compress.modalities.modality import modality
from compress.models.dual import PIECES, dual_tokenizer, read_inputs
from compress.models.hub import fetch
from compress.models.saved import save_model
from compress.models.transformers_model import try_out
from compress.models.zero_shot import open_zero_shot
from compress.training.rows import model_io, teacher_words

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData
    from compress.io_spec import IOSpec
    from compress.recipe.recipe import Recipe

TOKENIZER = "tokenizer.json"


def from_zero_shot(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """One tower with the labels' prompts as its last layer."""
    config = recipe.teacher
    folder = fetch(str(config.id), str(config.revision)) if config.id else ctx.base / str(config.path)
    require_whole(folder)
    if any(TOKENIZER in modality(m).assets for m in recipe.modalities):
        dual_tokenizer(folder).save(str(ctx.out / TOKENIZER), pretty=False)
    reading, note, io = read_as_trained(folder, recipe, data, ctx)
    prompts = [[template.replace("{}", config.labels.get(label, label)) for template in config.templates or ()] for label in data.labels]
    ctx.say(f"teacher: {sum(map(len, prompts)):,} prompts, such as {prompts[0][0]!r}")
    model, whole = open_zero_shot(folder, io, prompts, **reading)
    try_out(model, io, str(folder))
    whole.save_pretrained(ctx.out / "config")
    options = {"config_folder": "config", "width": model.output.in_features, **reading}
    save_model(model, ctx.out, name="zero_shot", options=options, io=io)
    return model, io, {"prompts": prompts, "note": note}


def read_as_trained(folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[dict, str, IOSpec]:
    """How a dual encoder reads its inputs, what is to be known of that ("": nothing), and the ports that the data gives it."""
    words = teacher_words(recipe)
    reading, note = read_inputs(folder, {m: words(m) for m in recipe.modalities})
    if note:
        ctx.say(f"teacher: {note}")
    return reading, note, model_io(data, words, ctx.out)


def require_whole(folder: Path) -> None:
    """Raises DependencyError where a dual encoder's configuration or tokenizer is not there."""
    for file in ("config.json", TOKENIZER):
        if not (folder / file).is_file() and not (file == TOKENIZER and (folder / PIECES).is_file()):
            raise DependencyError(
                f"teacher: {folder} has no {file}; save the model there, with tokenizer.save_pretrained of the fast tokenizer"
            )
