"""Stage `features`: what the frozen encoders of a `fit` teacher make of every distinct input, in every view; computed once.

The head is then fitted in seconds, and the teacher's answers for all views cost no second pass; other seeds share the result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import CompressError, RecipeError
from compress.io_spec import Port
from compress.models.student import build_encoder, flat
from compress.recipe.packages import WEIGHTS
from compress.recipe.recipe import Recipe
from compress.store.arrays import allocate, note_progress, read_progress
from compress.store.artifacts import Features
from compress.training.arithmetic import quick_call
from compress.training.batches import INFERENCE_BATCH
from compress.training.rows import model_io, open_rows, teacher_words
from compress.training.views import Views, draw_views


@torch.no_grad()
def encode_features(recipe: Recipe, data: PreparedData, *, ctx: Context) -> Features:
    """`<split>-<modality>.npy`: (V, N, D) float16 for train and validation, (V, N, T, D) of encoders that tell words apart; V is the number of views for training inputs that group the rows, else 1."""
    assert recipe.teacher.encoders
    described = {m: {"model": part.model, "options": part.options} for m in recipe.modalities if (part := recipe.teacher.encoders.get(m))}
    io = model_io(data, teacher_words(recipe), None)
    encoders = {port.name: flat(open_encoder(port, described.get(port.name, {})), port, io) for port in io.inputs}
    for encoder in encoders.values():
        for name, path in getattr(encoder, "assets", {}).items():
            shutil.copyfile(path, ctx.out / name)
    views = draw_views(recipe)
    for split in ("train", "validation"):
        rows = open_rows(data.split(split), io, ctx.out, teacher=True)
        for m, encoder in encoders.items():
            varied = views if m == rows.group and split == "train" else Views(m)
            encode(encoder, rows.inputs[m], ctx.out / f"{split}-{m}.npy", views=varied, ctx=ctx)
    return Features(details={"encoders": described, "views": views.to_json()})


def open_encoder(port: Port, described: dict) -> Any:
    """The frozen encoder with its pretrained weights; raises RecipeError for one that has none."""
    encoder = build_encoder(port, described).eval()
    if not hasattr(encoder, "load_pretrained"):
        known = ", ".join(WEIGHTS)
        raise RecipeError(
            f"teacher.encoders.{port.name}.model: {described['model']!r} has no pretrained weights, so frozen it knows nothing; there are {known}"
        )
    encoder.load_pretrained()
    return encoder


def encode(encoder: Any, inputs: np.ndarray, path: Path, *, views: Views, ctx: Context) -> None:
    """Writes (V, N, D) features of (N, ...) inputs; a killed run goes on behind the last finished view."""
    progress = ctx.out / "checkpoint" / path.stem
    done = read_progress(progress)
    out = (
        np.load(path, mmap_mode="r+")
        if done
        else allocate(path, (len(views), len(inputs), *getattr(encoder, "shape", (encoder.width,))), np.float16)
    )
    call, _ = quick_call(encoder.to(ctx.device), torch.from_numpy(np.array(inputs[:4])))
    with ctx.progress(f"features: {path.stem}", len(views) * len(inputs), unit="inputs", done=done * len(inputs)) as tell:
        for view in range(done, len(views)):
            for start in range(0, len(inputs), INFERENCE_BATCH):
                values = torch.from_numpy(np.array(inputs[start : start + INFERENCE_BATCH]))
                index = np.arange(start, start + len(values))
                out[view, start : start + INFERENCE_BATCH] = call(views.vary(values, view, index)).cpu().numpy()
                tell(len(values))
            out.flush()
            note_progress(progress, view + 1)
    if not np.isfinite(out).all():
        raise CompressError(f"features: {path.name}: the encoder gave a feature that float16 cannot hold (above 65,504, or NaN)")
