"""Stage `targets`: the teacher's logits for every training row in every view, computed once and memory-mapped."""

from __future__ import annotations

from typing import Any

import numpy as np

from compress.artifacts import Features, Targets, TorchModel
from compress.context import Context
from compress.data.arrays import allocate, note_progress, read_progress
from compress.data.prepared import PreparedData
from compress.errors import CompressError
from compress.models.saved import load_model, tokenizer_of
from compress.models.student import over_features
from compress.recipe import Recipe
from compress.training.answers import write_answers
from compress.training.loop import accuracy
from compress.training.rows import open_features, open_rows
from compress.training.views import draw_views


def store_targets(recipe: Recipe, teacher: TorchModel, features: Features | None, data: PreparedData, *, ctx: Context) -> Targets:
    """logits.npy: (V, R, K) float16, row by row as the training split has them; view 0 is the image itself."""
    assert teacher.path and teacher.io_spec
    model: Any = load_model(teacher.path)
    train = data.split("train")
    views = draw_views(recipe.distill.augment, recipe.data.seed)
    path, progress = ctx.out / "logits.npy", ctx.out / "checkpoint" / "views"
    first = read_progress(progress)
    shape = (len(views), len(train), len(data.labels))
    out = np.load(path, mmap_mode="r+") if first else allocate(path, shape, np.float16)
    for view in range(first, len(views)):
        if features is not None:
            body, rows = over_features(model), open_features(features, train, view=view)
        else:
            body, rows = model, open_rows(train, teacher.io_spec, tokenizer=tokenizer_of(teacher.path), teacher=True)
        write_answers(out[view], body, rows, vary=(views, view) if features is None else None)
        out.flush()
        note_progress(progress, view + 1)
    if not np.isfinite(out).all():
        raise CompressError("targets: the teacher gave a logit that float16 cannot hold (above 65,504, or NaN); are its weights whole?")
    known, metrics, words = int((train.labels >= 0).sum()), {}, "no row has a label"
    if known:
        scored = 100 * accuracy(np.asarray(out[0], np.float32), train.labels)
        metrics = {"train_accuracy": {"value": scored, "unit": "%", "samples": known}}
        words = f"the teacher knows {scored:.2f} % of the training labels"
    ctx.say(f"targets: {shape[0]} views of {shape[1]:,} rows; {words}")
    return Targets(metrics=metrics, details={"views": [list(v) for v in views.variants], "rows": shape[1], "classes": shape[2]})
