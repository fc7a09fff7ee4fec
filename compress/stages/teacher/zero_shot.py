"""A teacher that was never shown a label: a dual encoder from a folder or a hub, which compares an input with prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from compress.errors import DependencyError
from compress.modalities.modality import modality
from compress.models.audio_processors import require_audio_processor
from compress.models.dual import dual_tokenizer
from compress.models.hub import fetch
from compress.models.processors import NO_IMAGES, read_processor
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
    reading, note = read_inputs(folder, recipe, ctx)
    io = model_io(data, teacher_words(recipe), ctx.out)
    prompts = [[template.replace("{}", config.labels.get(label, label)) for template in config.templates or ()] for label in data.labels]
    ctx.say(f"teacher: {sum(map(len, prompts)):,} prompts, such as {prompts[0][0]!r}")
    model, whole = open_zero_shot(folder, io, prompts, **reading)
    try_out(model, io, str(folder))
    whole.save_pretrained(ctx.out / "config")
    options = {"config_folder": "config", "width": model.output.in_features, **reading}
    save_model(model, ctx.out, name="zero_shot", options=options, io=io)
    return model, io, {"prompts": prompts, "note": note}


def read_inputs(folder: Path, recipe: Recipe, ctx: Context) -> tuple[dict[str, Any], str]:
    """How the dual encoder in a folder reads its inputs, as `tower` takes it, and how that differs from its own processor."""
    words = teacher_words(recipe)
    processor = read_processor(folder, size=words("image").size) if "image" in recipe.modalities else NO_IMAGES
    if processor.note:
        ctx.say(f"teacher: {processor.note}")
    reading: dict[str, Any] = {"mean": processor.mean, "deviation": processor.deviation}
    if "audio" in recipe.modalities:
        reading["sound"] = require_audio_processor(folder, words("audio").rate, seconds=words("audio").seconds)
    return {**reading, "padding": int((dual_tokenizer(folder).padding or {})["pad_id"])}, processor.note


def require_whole(folder: Path) -> None:
    """Raises DependencyError where a dual encoder's configuration or tokenizer is not there."""
    for file in ("config.json", TOKENIZER):
        if not (folder / file).is_file():
            raise DependencyError(
                f"teacher: {folder} has no {file}; save the model there, with tokenizer.save_pretrained of the fast tokenizer"
            )
