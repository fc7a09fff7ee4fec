"""Stage `targets`: the teacher's logits for every training row in every view, computed once and memory-mapped.

Where the recipe asks for other wordings, they are made here, where the teacher that answers them is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import CompressError
from compress.modalities.modality import modality
from compress.modalities.wordings import write_wordings
from compress.models.saved import load_model
from compress.models.student import over_features
from compress.recipe.sections import Recipe
from compress.store.arrays import allocate, note_progress, read_progress
from compress.store.artifacts import Features, Targets, TorchModel
from compress.tasks.labels import known
from compress.training.answers import encode, write_answers
from compress.training.rows import add_wordings, open_features, open_rows, read_more
from compress.training.views import draw_views


def store_targets(recipe: Recipe, teacher: TorchModel, features: Features | None, data: PreparedData, *, ctx: Context) -> Targets:
    """logits.npy: (V, R + E, K) float16, row by row as the training split has them, then E rows in other words; view 0 is the image itself."""
    assert teacher.path and teacher.io_spec
    model: Any = load_model(teacher.path)
    train, views, wordings = data.split("train"), draw_views(recipe), None
    for m in recipe.modalities:
        words = recipe.distill.augment.get(m)
        wordings = wordings or modality(m).reword(words, train, model, model=teacher.path, seed=recipe.data.seed)
    body, more = model, None
    if wordings:
        write_wordings(ctx.out, wordings)
        more = read_more(wordings, teacher.io_spec, teacher.path)
    if features is not None:
        body = over_features(model)
        more = encode(model.encoders[wordings.modality][0], more) if wordings and more is not None else None
    path, progress = ctx.out / "logits.npy", ctx.out / "checkpoint" / "views"
    first = read_progress(progress)
    shape = (len(views), len(train) + (len(wordings.rows[wordings.modality]) if wordings else 0), data.outputs)
    out = np.load(path, mmap_mode="r+") if first else allocate(path, shape, np.float16)
    with ctx.progress("targets", shape[0] * shape[1], unit="rows", done=first * shape[1]) as tell:
        for view in range(first, len(views)):
            if features is not None:
                rows = open_features(features, train, view=view)
            else:
                rows = open_rows(train, teacher.io_spec, teacher.path, teacher=True)
            if wordings and more is not None:
                rows = add_wordings(rows, wordings, more)
            write_answers(out[view], body, rows, vary=(views, view) if features is None else None, tell=tell)
            out.flush()
            note_progress(progress, view + 1)
    if not np.isfinite(out).all():
        raise CompressError("targets: the teacher gave a logit that float16 cannot hold (above 65,504, or NaN); are its weights whole?")
    labelled, metrics, known_words = int(known(train.labels).sum()), {}, "no row has a label"
    if labelled:
        scored = 100 * data.task.with_facts(teacher.details.get("facts", {})).score(
            np.asarray(out[0, : len(train)], np.float32), np.asarray(train.labels)
        )
        metrics = {"train_accuracy": {"value": scored, "unit": "%", "samples": labelled}}
        known_words = f"the teacher's {data.task.measure} on the training labels is {scored:.2f} %"
    others = f" and {shape[1] - len(train):,} in {len(wordings.inputs):,} other wordings" if wordings else ""
    ctx.say(f"targets: {shape[0]} views of {len(train):,} rows{others}; {known_words}")
    details = {"views": views.to_json(), "rows": len(train), "classes": shape[2]}
    return Targets(metrics=metrics, details=details | ({"reworded_rows": shape[1] - len(train)} if wordings else {}))
