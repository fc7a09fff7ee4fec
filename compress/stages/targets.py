"""Stage `targets`: the teacher's logits for every training row in every view, computed once and memory-mapped.

Where the recipe asks for other wordings, they are made here, where the teacher that answers them is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from compress.artifacts import Features, Targets, TorchModel
from compress.context import Context
from compress.data.arrays import allocate, note_progress, read_progress
from compress.data.prepared import PreparedData, Split
from compress.data.tokens import tokenize, vocabulary
from compress.data.wordings import Wordings, draw_wordings, write_wordings
from compress.errors import CompressError, RecipeError
from compress.models.saved import load_model, tokenizer_of
from compress.models.student import over_features
from compress.models.words import nearest_words
from compress.recipe import Recipe
from compress.training.answers import encode, write_answers
from compress.training.loop import accuracy
from compress.training.rows import add_wordings, open_features, open_rows, require
from compress.training.views import draw_views


def store_targets(recipe: Recipe, teacher: TorchModel, features: Features | None, data: PreparedData, *, ctx: Context) -> Targets:
    """logits.npy: (V, R + E, K) float16, row by row as the training split has them, then E rows in other words; view 0 is the image itself."""
    assert teacher.path and teacher.io_spec
    model: Any = load_model(teacher.path)
    train, tokenizer = data.split("train"), tokenizer_of(teacher.path)
    views = draw_views(recipe.distill.augment, recipe.data.seed)
    wordings = make_wordings(recipe, train, model, teacher) if recipe.distill.augment.wordings else None
    body, texts = model, None
    if wordings:
        write_wordings(ctx.out, wordings)
        texts = tokenize(require(tokenizer), wordings.texts, teacher.io_spec.input("text").shape[0])
    if features is not None:
        body = over_features(model)
        texts = None if texts is None else encode(model.encoders["text"][0], texts)
    path, progress = ctx.out / "logits.npy", ctx.out / "checkpoint" / "views"
    first = read_progress(progress)
    shape = (len(views), len(train) + (len(wordings.rows["text"]) if wordings else 0), len(data.labels))
    out = np.load(path, mmap_mode="r+") if first else allocate(path, shape, np.float16)
    for view in range(first, len(views)):
        if features is not None:
            rows = open_features(features, train, view=view)
        else:
            rows = open_rows(train, teacher.io_spec, tokenizer=tokenizer, teacher=True)
        if wordings and texts is not None:
            rows = add_wordings(rows, wordings, texts)
        write_answers(out[view], body, rows, vary=(views, view) if features is None else None)
        out.flush()
        note_progress(progress, view + 1)
    if not np.isfinite(out).all():
        raise CompressError("targets: the teacher gave a logit that float16 cannot hold (above 65,504, or NaN); are its weights whole?")
    known, metrics, words = int((train.labels >= 0).sum()), {}, "no row has a label"
    if known:
        scored = 100 * accuracy(np.asarray(out[0, : len(train)], np.float32), train.labels)
        metrics = {"train_accuracy": {"value": scored, "unit": "%", "samples": known}}
        words = f"the teacher knows {scored:.2f} % of the training labels"
    more = f" and {shape[1] - len(train):,} in {len(wordings.texts):,} other wordings" if wordings else ""
    ctx.say(f"targets: {shape[0]} views of {len(train):,} rows{more}; {words}")
    details = {"views": [list(v) for v in views.variants], "rows": len(train), "classes": shape[2]}
    return Targets(metrics=metrics, details=details | ({"reworded_rows": shape[1] - len(train)} if wordings else {}))


def make_wordings(recipe: Recipe, train: Split, model: Any, teacher: TorchModel) -> Wordings:
    """The rows in other words, of which the same recipe and teacher give the same."""
    assert teacher.path and teacher.io_spec
    tokenizer, config = require(tokenizer_of(teacher.path)), recipe.distill.augment
    near = partial(nearest_words, model, vocabulary(tokenizer))
    try:
        return draw_wordings(train, near, tokenizer, per_text=config.wordings, share=config.reworded, seed=recipe.data.seed)
    except LookupError as error:
        raise RecipeError(f"distill.augment.wordings: the teacher has {error} to find near words in; set it to 0") from error
