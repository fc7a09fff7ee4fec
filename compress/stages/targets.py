"""Stage `targets`: the teacher's answers to every training row in every view, computed once and memory-mapped.

Where the recipe asks for rows in other words or in other pairs, they are made here, where the teacher that answers them is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import CompressError
from compress.measures.softness import describe_softness, softness
from compress.modalities.further import draw_pairings, joined, write_further
from compress.modalities.modality import modality
from compress.models.saved import load_model
from compress.models.student import over_features
from compress.models.taps import attach_taps
from compress.recipe.recipe import Recipe
from compress.store.arrays import allocate, note_progress, read_progress
from compress.store.artifacts import Features, Targets, TorchModel
from compress.tasks.labels import known
from compress.training.answers import encode, hidden_widths, write_answers
from compress.training.batches import Rows
from compress.training.rows import add_further, open_features, open_rows, read_more
from compress.training.top_k import create, describe_lost, view_of
from compress.training.views import draw_views


def store_targets(recipe: Recipe, teacher: TorchModel, features: Features | None, data: PreparedData, *, ctx: Context) -> Targets:
    """logits.npy: (V, R + E, K) float16, row by row as the training split has them, then E further ones; view 0 is the image itself.

    Beside it NAME.npy (V, R + E, D) for each hidden state that a loss compares, such as embedding.npy.
    """
    assert teacher.path and teacher.io_spec
    if "answers-train.npy" in teacher.files:
        return take_answers(recipe, teacher, data, ctx)
    model: Any = load_model(teacher.path)
    taps = recipe.distill.teacher_taps
    if features is not None and any(path.startswith("encoders.") for path, _ in taps.values()):
        ctx.say("targets: a tap lies inside the teacher's encoders, so they read every input once more")
        features = None
    elif "fine_tune" in teacher.details:  # the encoders are other ones since the features were stored
        features = None
    train, views, augment = data.split("train"), draw_views(recipe), recipe.distill.augment
    reworded = (modality(m).reword(augment.get(m), train, model, model=teacher.path, seed=recipe.data.seed) for m in recipe.modalities)
    wordings = next((found for found in reworded if found), None)
    pairings = draw_pairings(train, augment.pairings, seed=recipe.data.seed) if augment.pairings else None
    further = joined([part for part in (wordings, pairings) if part])
    body, more = model.to(ctx.device), None
    if further:
        write_further(ctx.out, further)
        more = read_more(further, teacher.io_spec, teacher.path)
    if features is not None:
        body = over_features(model)
        more = encode(model.encoders[further.modality][0], more) if further and more is not None else None
    attach_taps(body, taps, side="teacher")
    count = len(train) + (len(further) if further else 0)

    io, folder = teacher.io_spec, teacher.path

    def rows_of(view: int) -> Rows:
        rows = open_features(features, train, view=view) if features else open_rows(train, io, folder, teacher=True)
        return add_further(rows, further, more) if further else rows

    widths = {"logits": data.outputs, **hidden_widths(body, rows_of(0), recipe.distill.hidden)}
    progress = ctx.out / "checkpoint" / "views"
    first = read_progress(progress)
    keep, again = recipe.distill.store_top_k, first > 0
    out: dict[str, Any] = {"logits": create(ctx.out, (len(views), count, widths.pop("logits")), keep, again=again)}
    out |= {name: open_array(ctx.out / f"{name}.npy", (len(views), count, width), again=again) for name, width in widths.items()}
    with ctx.progress("targets", len(views) * count, unit="rows", done=first * count) as tell:
        for view in range(first, len(views)):
            vary = (views, view) if features is None else None
            write_answers({name: view_of(array, view) for name, array in out.items()}, body, rows_of(view), vary=vary, tell=tell)
            for array in out.values():
                array.flush()
            note_progress(progress, view + 1)
    for name, array in out.items():
        if not all(np.isfinite(part).all() for part in array):
            what = "a logit" if name == "logits" else f"a number in {name!r}"
            raise CompressError(f"targets: the teacher gave {what} that float16 cannot hold (above 65,504, or NaN); are its weights whole?")
    metrics, known_words = judge(teacher, np.asarray(out["logits"][0, : len(train)], np.float32), np.asarray(train.labels), data)
    others = f", {len(wordings):,} in {len(wordings.inputs):,} other wordings" if wordings else ""
    others += f", {len(pairings):,} in other pairs" if pairings else ""
    states = [f"{name} of {array.shape[2]} numbers ({array.nbytes / 1e6:,.0f} MB)" for name, array in out.items() if name != "logits"]
    ctx.say(f"targets: {len(views)} views of {len(train):,} rows{others}{''.join(f', {state}' for state in states)}; {known_words}")
    details: dict[str, Any] = {"views": views.to_json(), "rows": len(train), "classes": data.outputs, "hidden": list(recipe.distill.hidden)}
    if data.task.one_of_many:
        soft = softness((view[: len(train)] for view in out["logits"]), np.asarray(train.labels)), teacher.details["softness"]
        if all(soft):
            details |= {"softness": dict(zip(("train", "validation"), soft, strict=True)), "softness_in_words": describe_softness(*soft)}
            ctx.say(f"targets: {details['softness_in_words']}")
    details |= tell_lost(out["logits"], ctx)
    return Targets(
        metrics=metrics,
        details=details | ({"reworded_rows": len(wordings)} if wordings else {}) | ({"paired_rows": len(pairings)} if pairings else {}),
    )


def take_answers(recipe: Recipe, teacher: TorchModel, data: PreparedData, ctx: Context) -> Targets:
    """The answers that a teacher has given: one to each row, which holds for all of its views as a label does; answered.npy (R,) bool says
    which rows have one, and logits.npy is 0 for the others."""
    logits, labels = np.load(teacher.file("answers-train.npy")), np.asarray(data.split("train").labels)
    answered = np.isfinite(logits).all(1)
    stored = create(ctx.out, (1, *logits.shape), recipe.distill.store_top_k)
    view_of(stored, 0)[:] = np.where(answered[:, None], logits, 0)
    stored.flush()
    np.save(ctx.out / "answered.npy", answered)
    metrics, known_words = judge(teacher, logits[answered], labels[answered], data)
    views = draw_views(recipe)
    ctx.say(f"targets: {int(answered.sum()):,} of {len(labels):,} rows have an answer, the same in {len(views)} views; {known_words}")
    details = {"views": views.to_json(), "rows": len(labels), "classes": data.outputs, "hidden": [], "answered": int(answered.sum())}
    details |= tell_lost(stored, ctx)
    return Targets(metrics=metrics, details=details)


def tell_lost(stored: Any, ctx: Context) -> dict[str, Any]:
    """What `describe_lost` gives, and says it."""
    lost = describe_lost(stored)
    if lost:
        ctx.say(f"targets: {lost['top_k_in_words']}")
    return lost


def judge(teacher: TorchModel, logits: np.ndarray, labels: np.ndarray, data: PreparedData) -> tuple[dict, str]:
    """How good the answers to training rows are where these have a label, and that in words: logits (R, K), labels (R, ...)."""
    labelled = int(known(labels).sum())
    if not labelled:
        return {}, "no row has a label"
    scored = 100 * data.task.with_facts(teacher.details.get("facts", {})).score(logits, labels)
    metrics = {"train_accuracy": {"value": scored, "unit": "%", "samples": labelled}}
    return metrics, f"the teacher's {data.task.measure} on the training labels is {scored:.2f} %"


def open_array(path: Path, shape: tuple[int, ...], *, again: bool) -> np.memmap:
    """A memory-mapped float16 array, new, or as a killed run left it."""
    return np.lib.format.open_memmap(path, mode="r+") if again else allocate(path, shape, np.float16)
