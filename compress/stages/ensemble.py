"""Stage `ensemble`: the stored answers of several teachers as those of one, which is all that later stages read of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import DataError
from compress.measures.ensemble import agreement, combine, learn_weights
from compress.measures.softness import describe_softness, softness
from compress.recipe.recipe import Recipe
from compress.store.artifacts import Targets, TorchModel
from compress.tasks.labels import known
from compress.training.answers import answers_to
from compress.training.top_k import create, describe_lost, open_logits, view_of
from compress.training.views import Views

BLOCK = 4096  # rows combined at once


class Member(NamedTuple):
    """One of the teachers: its model or table, its answers to the training rows, and the data as it reads them."""

    teacher: TorchModel
    targets: Targets
    data: PreparedData


def combine_answers(recipe: Recipe, *parts: Any, ctx: Context) -> Targets:
    """logits.npy (V, R, K) float16 and answers-test.npy (R_test, K) float32 of all teachers together, for `parts` teacher, targets, data of each.

    Beside them answered.npy (R,) bool where some rows have no answer, and agreement.npy (R,) float32 where rows weigh by it.
    """
    members = [Member(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
    how, data, task = recipe.distill.combine, members[0].data, members[0].data.task
    require_same_rows(members)
    train = np.asarray(data.split("train").labels)
    temperatures = [m.teacher.details.get("facts", {}).get("temperature", 1.0) for m in members]
    given: dict[str, Any] = {"one_of_many": task.one_of_many, "temperatures": temperatures}
    answers = {
        split: np.stack([answers_to(m.data.split(split), m.teacher, device=ctx.device) for m in members])
        for split in ("validation", "test")
    }
    if how == "learned":
        given["learned"] = learn_weights(answers["validation"], np.asarray(data.split("validation").labels))
    views = len(Views.from_json(members[0].targets.details["views"]))
    out = create(ctx.out, (views, len(train), data.outputs), recipe.distill.store_top_k)
    answered, agreed = np.ones(len(train), bool), np.ones(len(train), np.float32)
    for view in range(views):
        for rows, logits in blocks(members, view):
            found = combine(logits, how, labels=train[rows] if task.one_of_many else None, **given)
            answered[rows] &= np.isfinite(found).all(1)
            view_of(out, view)[rows] = np.nan_to_num(found, nan=0.0)
            if how == "agreement" and view == 0:
                agreed[rows] = agreement(logits)
    out.flush()
    if not answered.all():
        np.save(ctx.out / "answered.npy", answered)
    if how == "agreement":
        np.save(ctx.out / "agreement.npy", agreed)
    unseen = {split: combine(logits, how, **given) for split, logits in answers.items()}
    np.save(ctx.out / "answers-test.npy", unseen["test"])
    return described(recipe, members, out, answered, agreed, unseen["validation"], ctx, given.get("learned"))


def described(
    recipe: Recipe,
    members: list[Member],
    out: Any,
    answered: np.ndarray,
    agreed: np.ndarray,
    validation: np.ndarray,
    ctx: Context,
    learned: np.ndarray | None = None,
) -> Targets:
    """What is told of the combined answers: how good and how soft they are, and of which teachers they are."""
    data, task, how = members[0].data, members[0].data.task, recipe.distill.combine
    labels = {split: np.asarray(data.split(split).labels) for split in ("train", "validation")}
    there = {"train": known(labels["train"]) & answered, "validation": known(labels["validation"]) & np.isfinite(validation).all(1)}
    logits = {"train": np.asarray(out[0], np.float32), "validation": validation}
    facts = task.fit(validation[there["validation"]], labels["validation"][there["validation"]]) if there["validation"].any() else {}
    metrics = {}
    for split, keep in there.items():
        if keep.any():
            value = 100 * task.with_facts(facts).score(logits[split][keep], labels[split][keep])
            metrics[f"{split}_accuracy"] = {"value": value, "unit": "%", "samples": int(keep.sum())}
    named = [describe_member(name, m) for name, m in zip((t.label for t in recipe.teachers), members, strict=True)]
    details: dict[str, Any] = {"views": members[0].targets.details["views"], "rows": len(answered), "classes": data.outputs, "hidden": []}
    details |= {"facts": facts, "combine": how, "teachers": named, "answered": int(answered.sum())}
    details |= describe_lost(out)
    scores = ", ".join(f"{name.replace('_', ' ')} {m['value']:.2f} %" for name, m in metrics.items())
    ctx.say(f"ensemble: {len(members)} teachers by {how}: {', '.join(one['name'] for one in named)}; {scores or 'no row has a label'}")
    if how == "agreement":
        details["agreement"] = float(agreed.mean())
        ctx.say(f"ensemble: rows weigh {agreed.mean():.2f} in the mean, {int((agreed < 0.5).sum()):,} of {len(agreed):,} less than half")
    if learned is not None:
        details["weights"] = [round(float(weight), 4) for weight in learned]
        ctx.say(f"ensemble: validation weighs the teachers {', '.join(f'{weight:.2f}' for weight in learned)}")
    if task.one_of_many:
        soft = [softness(rows, labels[split]) for split, rows in (("train", out), ("validation", [validation]))]
        if all(soft):
            details |= {"softness": dict(zip(("train", "validation"), soft, strict=True)), "softness_in_words": describe_softness(*soft)}
    return Targets(io_spec=members[0].teacher.io_spec, metrics=metrics, details=details)


def describe_member(name: str, member: Member) -> dict[str, Any]:
    """One line of the report's table of teachers; what is not known is None."""
    value = member.teacher.metrics.get("validation_accuracy", {}).get("value")
    train = member.targets.metrics.get("train_accuracy", {}).get("value")
    details = member.teacher.details
    return {"name": name, "source": details["source"], "parameters": details["parameters"], "validation": value, "train": train}


def stored(member: Member, views: int) -> tuple[Any, np.ndarray | None]:
    """Its logits (V, R, K), and which rows it answered (R,) bool, None: all."""
    assert member.targets.path
    answered = np.load(member.targets.file("answered.npy")) if "answered.npy" in member.targets.files else None
    return open_logits(member.targets.path, views=views, classes=member.targets.details["classes"]), answered


def blocks(members: list[Member], view: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows, and (M, r, K) float32 what each teacher says of them in this view, NaN where it does not."""
    arrays = [stored(member, view + 1) for member in members]
    for start in range(0, arrays[0][0].shape[1], BLOCK):
        rows = slice(start, start + BLOCK)
        parts = []
        for logits, answered in arrays:
            part = np.asarray(logits[view, rows], np.float32)
            parts.append(part if answered is None else np.where(answered[rows, None], part, np.nan))
        yield rows, np.stack(parts)


def require_same_rows(members: list[Member]) -> None:
    """Raises DataError where teachers read their rows from data that are not the same rows, as after a skipped row that one of them can read."""
    first = members[0].data
    for number, member in enumerate(members[1:], 2):
        for split in ("train", "validation", "test"):
            a, b = (np.asarray(data.split(split).labels) for data in (first, member.data))
            if a.shape != b.shape or not np.array_equal(a, b) or first.labels != member.data.labels:
                raise DataError(
                    f"teachers: the {split} rows of teacher {number} are not those of the first ({len(b):,} and {len(a):,}); mend the rows"
                )
