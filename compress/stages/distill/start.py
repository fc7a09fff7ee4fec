"""What both students start from, the distilled one and the one alone: first weights, rows to learn from, and how a training of them runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import RecipeError
from compress.io_spec import IOSpec
from compress.losses.objective import Objective
from compress.modalities.further import read_further
from compress.modalities.modality import modality, pixels_of
from compress.models.saved import load_model, save_model
from compress.models.student import student as build_student
from compress.recipe.recipe import Recipe
from compress.store.artifacts import Targets, TorchModel
from compress.store.earlier import Earlier, open_earlier
from compress.tasks.labels import known
from compress.training.adversarial import against
from compress.training.batches import Batches, Rows, scheduled_batches
from compress.training.checkpoint import seed_everything
from compress.training.frozen import frozen, parts_that_stay
from compress.training.imbalance import against_imbalance
from compress.training.loop import History, predict, train
from compress.training.rows import model_io, open_rows, training_rows
from compress.training.views import draw_views

SAMPLES = 512  # training inputs that a room may look at for an encoder's first weights


class Start(NamedTuple):
    """A student before its first step, what it learns from, and what is told of it."""

    model: nn.Module
    io: IOSpec
    rows: Rows  # the training split with the teacher's answers
    unaided: Rows  # the same without them, in variants of its own, which labels fit
    check: Batches  # the validation split
    details: dict


def begin(recipe: Recipe, teacher: TorchModel, targets: Targets, data: PreparedData, ctx: Context) -> Start:
    """What both arms start from, drawn from the seed; what the student reads its inputs with is written to the stage's folder."""
    assert teacher.path
    start = recipe.student.initialise
    earlier = open_earlier(ctx.base / start.run, start.arm, place="student.initialise.run") if start else None
    assets = keep_assets(recipe, earlier, ctx.out) if earlier else write_assets(recipe, teacher.path, targets, data, ctx.out)
    io = model_io(data, recipe.data.inputs.get, ctx.out)
    rows = against_imbalance(training_rows(data.split("train"), io, targets, ctx.out), data)
    check = Batches(open_rows(data.split("validation"), io, ctx.out), 512, shuffle=False)
    if earlier:
        model, details = continued_student(recipe, io, earlier, data, ctx)
    else:  # once: to pick first weights may take longer than a pass
        model, details = new_student(recipe, io, teacher.path, assets, rows, ctx)
    unaided = replace(rows, targets=None, views=replace(rows.views, fresh=draw_views(recipe).fresh))
    return Start(model, io, rows, unaided, check, details)


def require_labels(data: PreparedData, word: str) -> None:
    """Raises RecipeError where no training row has a label, and `distill.word` asks for something to be learnt from labels alone."""
    if not known(data.split("train").labels).any():
        raise RecipeError(
            f"distill.{word}: no training row has a label, so there is nothing to learn from without the teacher; set it otherwise"
        )


def run(
    recipe: Recipe, model: nn.Module, rows: Rows, check: Batches, data: PreparedData, ctx: Context, label: str, *, objective: Objective
) -> History:
    """One training of the student; without a teacher, on the labelled rows alone."""
    batches, schedule = scheduled_batches(rows, recipe.distill.train, label=label, ctx=ctx, labelled=not objective.with_teacher)
    with frozen(parts_that_stay(recipe, model)):
        return train(
            model,
            batches,
            objective=objective,
            config=schedule,
            ctx=ctx,
            validate=lambda m: data.task.marks(predict(m, check), check.data.labels),
            label=label,
            perturb=against(recipe.distill.adversarial, pixels_of(recipe.modalities), ctx.seed),
        )


def save_student(model: nn.Module, folder: Path, recipe: Recipe, io: IOSpec) -> None:
    """The student as a model folder; what it reads its inputs with lies in the artifact's own folder."""
    folder.mkdir(exist_ok=True)
    options, encoders = student_options(recipe, Path()), model.get_submodule("encoders")
    if width := getattr(model.get_submodule("head"), "teacher_width", None):
        options["teacher_width"] = width
    for m, described in options["encoders"].items():  # one whose options name a folder says how it is built without it
        described["options"] = getattr(encoders.get_submodule(m), "rebuilt_with", described["options"])
    save_model(model, folder, name="student", options=options, io=io)


def student_options(recipe: Recipe, base: Path) -> dict:
    """The student's options as its function takes them; an encoder's `folder` starts from `base`."""
    encoders = {}
    for m in recipe.modalities:
        part = recipe.student.encoders.get(m)
        place = {"folder": str(base / part.options["folder"])} if part.options.get("folder") else {}
        encoders[m] = {"model": part.model, "options": {**part.options, **place}}
    student = recipe.student
    return {"encoders": encoders, "head_width": student.head_width, "dropout": student.dropout, "fusion": student.fusion.model_dump()}


def new_student(recipe: Recipe, io: IOSpec, teacher: Path, known: dict[str, dict], rows: Rows, ctx: Context) -> tuple[nn.Module, dict]:
    """A fresh student, its encoders started as the recipe says, and what the rooms of its modalities report."""
    seed_everything(ctx.seed)
    model = build_student(io, **student_options(recipe, ctx.base))
    details: dict = {}
    for m in recipe.modalities:
        some = rows.inputs[m][np.unique(np.linspace(0, len(rows.inputs[m]) - 1, SAMPLES).astype(np.int64))]
        details |= modality(m).initialise(model.encoders[m], recipe.student.encoders.get(m), teacher, known[m], some)
    return model, details


def continued_student(recipe: Recipe, io: IOSpec, earlier: Earlier, data: PreparedData, ctx: Context) -> tuple[nn.Module, dict]:
    """The student with the weights of an earlier one, of its last layer those of the labels that both have; and what the report tells of it."""
    seed_everything(ctx.seed)
    model, state = build_student(io, **student_options(recipe, ctx.base)), load_model(earlier.folder).state_dict()
    new, gone = ([label for label in a if label not in b] for a, b in ((data.labels, earlier.labels), (earlier.labels, data.labels)))
    if data.labels != earlier.labels and not io.outputs[0].unit:
        here, there = (
            torch.tensor([labels.index(label) for label in data.labels if label not in new]) for labels in (data.labels, earlier.labels)
        )
        for name in ("head.output.weight", "head.output.bias"):
            state[name] = model.state_dict()[name].index_copy(0, here, state[name][there])
        ctx.say(
            f"distill: {len(here)} labels are known to {earlier.run}; {len(new)} are new{f', such as {new[:3]}' if new else ''}, {len(gone)} gone"
        )
    model.load_state_dict(state)
    return model, {"continued": {"run": str(earlier.run), "student": earlier.artifact.fingerprint, "new_labels": new}}


def keep_assets(recipe: Recipe, earlier: Earlier, out: Path) -> dict[str, dict]:
    """Copies what the earlier student reads its inputs with; nothing is learnt from them."""
    for asset in (asset for m in recipe.modalities for asset in modality(m).assets):
        shutil.copyfile(earlier.artifact.file(asset), out / asset)
    return {}


def write_assets(recipe: Recipe, teacher: Path, targets: Targets, data: PreparedData, out: Path) -> dict[str, dict]:
    """Writes what the student reads its inputs with, such as its tokenizer.json; gives what each modality knows of it."""
    assert targets.path
    further = read_further(targets.path)

    def inputs(m: str, split: str) -> list:
        more = further.inputs.to_pylist() if further and further.inputs is not None and further.modality == m and split == "train" else []
        return [*data.split(split).inputs[m].to_pylist(), *more]

    return {m: modality(m).write_assets(recipe.student.encoders.get(m), teacher, partial(inputs, m), out=out) for m in recipe.modalities}
