"""A teacher that was never shown a label: a dual encoder from a folder or a hub, which compares an input with prompts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from torch import nn

from compress.errors import DependencyError
from compress.modalities.modality import modality
from compress.models.hub import fetch
from compress.models.processors import read_processor
from compress.models.saved import save_model
from compress.models.transformers_model import try_out
from compress.models.zero_shot import dual_config, end_token, open_zero_shot
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
        write_tokenizer(folder, ctx.out)
    io = model_io(data, teacher_words(recipe), ctx.out)
    size = next((port.shape[0] for port in io.inputs if len(port.shape) == 3), None)
    processor = read_processor(folder, size=size)
    if size and processor.note:
        ctx.say(f"teacher: {processor.note}")
    prompts = [[template.replace("{}", config.labels.get(label, label)) for template in config.templates or ()] for label in data.labels]
    ctx.say(f"teacher: {sum(map(len, prompts)):,} prompts, such as {prompts[0][0]!r}")
    colours = {"mean": processor.mean, "deviation": processor.deviation}
    model = open_zero_shot(folder, io, prompts, **colours)
    try_out(model, io, str(folder))
    model.tower.config.save_pretrained(ctx.out / "config")
    options = {"config_folder": "config", "width": model.output.in_features, **colours}
    save_model(model, ctx.out, name="zero_shot", options=options, io=io)
    return model, io, {"prompts": prompts, "note": processor.note}


def require_whole(folder: Path) -> None:
    """Raises DependencyError where a dual encoder's configuration or tokenizer is not there."""
    for file in ("config.json", TOKENIZER):
        if not (folder / file).is_file():
            raise DependencyError(
                f"teacher: {folder} has no {file}; save the model there, with tokenizer.save_pretrained of the fast tokenizer"
            )


def write_tokenizer(folder: Path, out: Path) -> None:
    """Writes the dual encoder's tokenizer.json to the folder `out`; it fills short texts with its end token where it says nothing of it."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    if tokenizer.padding:
        shutil.copyfile(folder / TOKENIZER, out / TOKENIZER)
        return
    end = end_token(dual_config(folder), tokenizer)
    tokenizer.enable_padding(pad_id=end, pad_token=tokenizer.id_to_token(end))
    tokenizer.save(str(out / TOKENIZER), pretty=False)
