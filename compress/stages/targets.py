"""Stage `targets`: the teacher's logits for every training row in every view, computed once and memory-mapped."""

from __future__ import annotations

import os

import numpy as np
import torch

from compress.artifacts import Targets, TorchModel
from compress.context import Context
from compress.data.arrays import allocate
from compress.data.prepared import PreparedData
from compress.models.saved import load_model
from compress.recipe import Recipe
from compress.stages.teacher import ENCODE_BATCH, tokenizer_of
from compress.training.batches import Batches
from compress.training.loop import accuracy
from compress.training.rows import open_rows
from compress.training.views import draw_views


@torch.no_grad()
def store_targets(recipe: Recipe, teacher: TorchModel, data: PreparedData, *, ctx: Context) -> Targets:
    """logits.npy: (V, R, K) float16, row by row as the training split has them; view 0 is the image itself."""
    assert teacher.path and teacher.io_spec
    model = load_model(teacher.path)
    views = draw_views(recipe.distill.augment, ctx.seed)
    rows = open_rows(data.split("train"), teacher.io_spec, tokenizer=tokenizer_of(teacher.path), teacher=True)
    path, done = ctx.out / "logits.npy", ctx.out / "checkpoint" / "views_done"
    first = int(done.read_text()) if done.is_file() else 0
    shape = (len(views), len(rows.labels), len(data.labels))
    out = np.load(path, mmap_mode="r+") if first else allocate(path, shape, np.float16)
    for view in range(first, len(views)):
        for batch in Batches(rows, ENCODE_BATCH, shuffle=False).epoch(0):
            inputs = {m: views.vary(x, view) if m == "image" else x for m, x in batch.inputs.items()}
            out[view, batch.index] = model(inputs, batch.rows).numpy()
        out.flush()
        done.parent.mkdir(parents=True, exist_ok=True)
        done.with_suffix(".partial").write_text(str(view + 1))
        os.replace(done.with_suffix(".partial"), done)
    if not np.isfinite(out).all():
        raise FloatingPointError("targets: the teacher gave a logit that float16 cannot hold")
    labelled = rows.labels >= 0
    scored = accuracy(np.asarray(out[0], np.float32), rows.labels)
    ctx.say(f"targets: {len(views)} views of {shape[1]} rows; the teacher knows {100 * scored:.2f} % of the training labels")
    return Targets(
        metrics={"train_accuracy": {"value": 100 * scored, "unit": "%", "samples": int(labelled.sum())}},
        details={"views": [list(v) for v in views.variants], "rows": shape[1], "classes": shape[2]},
    )
