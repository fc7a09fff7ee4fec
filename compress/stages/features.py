"""Stage `features`: what the frozen encoders of a `fit` teacher make of every distinct input, in every view; computed once.

The head is then fitted in seconds, and the teacher's answers for all views cost no second pass; other seeds share the result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.artifacts import Features
from compress.context import Context
from compress.data.arrays import allocate, note_progress, read_progress
from compress.data.prepared import PreparedData
from compress.errors import CompressError, RecipeError
from compress.io_spec import io_spec
from compress.recipe import PretrainedEncoder, Recipe
from compress.tables import ENCODERS, LICENCES, resolve
from compress.training.batches import INFERENCE_BATCH
from compress.training.rows import open_rows
from compress.training.views import Views, draw_views


@torch.no_grad()
def encode_features(recipe: Recipe, data: PreparedData, *, ctx: Context) -> Features:
    """`<split>-<modality>.npy`: (V, N, D) float16 for train and validation; V is the number of views for training images, else 1."""
    parts = {m: part for m in recipe.modalities if (part := getattr(recipe.teacher, m)) is not None}
    if set(parts) != set(recipe.modalities):
        raise RecipeError(f"teacher: the data has {list(recipe.modalities)}, but source fit has encoders for {list(parts)}")
    encoders = {m: open_encoder(m, part) for m, part in parts.items()}
    tokenizer = shutil.copyfile(encoders["text"].tokenizer, ctx.out / "tokenizer.json") if "text" in encoders else None
    views = draw_views(recipe.distill.augment, recipe.data.seed)
    io = io_spec(image_size=recipe.data.image_size, text_length=recipe.data.text_length, vocabulary=None, classes=len(data.labels))
    for split in ("train", "validation"):
        inputs = open_rows(data.split(split), io, tokenizer=tokenizer, teacher=True).inputs
        for m, encoder in encoders.items():
            several = m == "image" and split == "train"
            encode(encoder, inputs[m], ctx.out / f"{split}-{m}.npy", views=views if several else Views(views.variants[:1]), ctx=ctx)
    described = {m: {"model": part.model, "options": part.options} for m, part in parts.items()}
    return Features(details={"encoders": described, "views": [list(v) for v in views.variants]})


def open_encoder(modality: str, part: PretrainedEncoder) -> Any:
    """The frozen encoder with its pretrained weights; raises RecipeError for one that has none."""
    encoder = resolve(ENCODERS[modality][part.model])(**part.options).eval()
    if not hasattr(encoder, "load_pretrained"):
        known = ", ".join(LICENCES)
        raise RecipeError(
            f"teacher.{modality}.model: {part.model!r} has no pretrained weights, so frozen it knows nothing; there are {known}"
        )
    encoder.load_pretrained()
    return encoder


def encode(encoder: Any, inputs: np.ndarray, path: Path, *, views: Views, ctx: Context) -> None:
    """Writes (V, N, D) features of (N, ...) inputs; a killed run goes on behind the last finished view."""
    progress = ctx.out / "checkpoint" / path.stem
    done = read_progress(progress)
    out = np.load(path, mmap_mode="r+") if done else allocate(path, (len(views), len(inputs), encoder.width), np.float16)
    for view in range(done, len(views)):
        for start in range(0, len(inputs), INFERENCE_BATCH):
            values = torch.from_numpy(np.array(inputs[start : start + INFERENCE_BATCH]))
            out[view, start : start + INFERENCE_BATCH] = encoder(views.vary(values, view) if view else values).numpy()
        out.flush()
        note_progress(progress, view + 1)
    if not np.isfinite(out).all():
        raise CompressError(f"features: {path.name}: the encoder gave a feature that float16 cannot hold (above 65,504, or NaN)")
