"""Stage `distill`: the student, started from the teacher's layers or from published weights, trained on labels and on the teacher's answers."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData, Split
from compress.errors import RecipeError
from compress.io_spec import IOSpec
from compress.losses.objective import Objective
from compress.measures.paired import Paired, compare_paired, deciding, describe_paired, which_ships
from compress.modalities.modality import modality, pixels_of
from compress.modalities.wordings import read_wordings
from compress.models.reuse import ReusedClassifier, last_layer
from compress.models.saved import count_parameters, load_model, save_model
from compress.models.student import student as build_student
from compress.models.taps import Tap, attach_taps
from compress.placement import CPU
from compress.recipe.needs import reads_teacher
from compress.recipe.recipe import Recipe
from compress.recipe.terms import Loss
from compress.stages.distill.rounds import Round, describe_rounds, further_rounds
from compress.store.artifacts import Targets, TorchModel
from compress.store.earlier import Earlier, open_earlier
from compress.tables import LOSSES
from compress.tasks.labels import known
from compress.training.adversarial import against
from compress.training.batches import Batches, Rows, scheduled_batches
from compress.training.checkpoint import seed_everything
from compress.training.imbalance import against_imbalance
from compress.training.loop import History, predict, train
from compress.training.rows import in_other_words, model_io, open_rows, training_rows
from compress.training.teaching import Teaching, choose_teaching, objective_for, save_projections
from compress.training.views import draw_views

SAME_POINTS = 0.5  # two students whose difference is known to lie within are the same
SAMPLES = 512  # training inputs that a room may look at for an encoder's first weights
DISTILLED, ALONE = "the distilled student", "the student alone"


class Scored(NamedTuple):
    """Mean gains (shares of right answers) of both students on the same rows, and the distilled one against the one alone."""

    distilled: float
    alone: float
    paired: Paired

    def to_json(self) -> dict:
        """Plain data."""
        return {**self._asdict(), "paired": self.paired.to_json()}


def distill(recipe: Recipe, teacher: TorchModel, targets: Targets, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The trained student as a model folder, with its histories and what the teacher was worth on validation."""
    assert teacher.path
    require_labels(recipe, data)
    start = recipe.student.initialise
    earlier = open_earlier(ctx.base / start.run, start.arm, place="student.initialise.run") if start else None
    assets = keep_assets(recipe, earlier, ctx.out) if earlier else write_assets(recipe, teacher.path, targets, data, ctx.out)
    io = model_io(data, recipe.data.inputs.get, ctx.out)
    rows = against_imbalance(training_rows(data.split("train"), io, targets, ctx.out), data)
    check = Batches(open_rows(data.split("validation"), io, ctx.out), 512, shuffle=False)
    assert targets.path
    kept = teacher_classifier(teacher.path, data.split("train")) if recipe.student.classifier == "teacher" else None
    if earlier:
        started, details = continued_student(recipe, io, earlier, data, ctx)
    else:  # once: to pick first weights may take longer than a pass
        started, details = new_student(recipe, io, teacher.path, assets, rows, ctx)
    begun = end_in(copy.deepcopy(started), kept, ctx.seed) if kept else started
    fresh = partial(fresh_copy, begun, recipe.distill.student_taps, device=ctx.device)
    unaided = replace(rows, targets=None, views=replace(rows.views, fresh=draw_views(recipe).fresh))  # labels fit any variant
    if recipe.distill.asks_teacher:
        taught = choose_teaching(recipe, fresh, rows, check, teacher=teacher.path, targets=targets.path, data=data, ctx=ctx)
    else:
        taught = Teaching(unaided, objective_for(recipe.distill.losses, fresh(), unaided, with_teacher=False), {})
    model = fresh()
    details |= {"parameters": count_parameters(model), "teaching": taught.notes}
    ctx.say(
        f"distill: student of {details['parameters']:,} parameters, {len(rows.labels):,} rows, {int((~known(rows.labels)).sum()):,} of them unlabelled"
    )
    details["history"] = run(recipe, model, taught.rows, check, data, ctx, "student", objective=taught.objective).to_json()
    objective, labelled = taught.objective, known(check.data.labels)
    if recipe.distill.rounds > 1:
        first = Round(model, taught.objective, details["history"])
        truth, clusters = np.asarray(check.data.labels)[labelled], data.split("validation").clusters[labelled]
        last, details["rounds"] = further_rounds(
            *(recipe, first, taught),
            fresh=fresh,
            train=lambda one, given, label, terms: run(recipe, one, given, check, data, ctx, label, objective=terms).to_json(),
            gains=lambda one: gains_of(predict(one, check)[labelled], truth, data),
            clusters=clusters,
            one_of_many=data.task.one_of_many,
            ctx=ctx,
        )
        model, objective, details["history"] = last.model, last.objective, last.history
        details["rounds_in_words"] = describe_rounds(details["rounds"])
    save_projections(objective, ctx.out)
    if objective.learned:
        details["learned_weights"] = objective.learned
        ctx.say(f"distill: learned weights: {', '.join(f'{name} {weight:.2f}' for name, weight in objective.learned.items())}")
    arms, shipped = {"distilled": model}, "distilled"
    if recipe.distill.compare_alone:
        arms["alone"] = started  # with a last layer of its own
        alone = labels_alone(recipe.distill.losses, data)
        objective = objective_for(alone, arms["alone"], unaided, with_teacher=False)
        details["history_alone"] = run(recipe, arms["alone"], unaided, check, data, ctx, "alone", objective=objective).to_json()
        validated = score_arms(arms, check.data, known(check.data.labels), data, clusters=data.split("validation").clusters)
        details["comparison"] = compare(validated, score_reworded(arms, check.data, data, io, ctx.out), joint=data.task.joint)
        shipped = details["comparison"]["shipped_arm"]
        ctx.say(f"distill: {details['comparison']['sentence']}")
    details["shipped_arm"] = shipped
    details["facts"] = data.task.fit(
        predict(arms[shipped], check)[known(check.data.labels)], np.asarray(check.data.labels)[known(check.data.labels)]
    )
    for arm, trained in arms.items():
        save_student(trained, ctx.out if arm == shipped else ctx.out / arm, recipe, io)
    best = details["history_alone" if shipped == "alone" else "history"]["best"]
    samples = int(known(check.data.labels).sum())
    return TorchModel(io_spec=io, metrics={"validation_accuracy": {"value": 100 * best, "unit": "%", "samples": samples}}, details=details)


def require_labels(recipe: Recipe, data: PreparedData) -> None:
    """Raises RecipeError where no training row has a label, and something is to be learnt from labels alone."""
    if known(data.split("train").labels).any():
        return
    for word, asked in (("compare_alone", recipe.distill.compare_alone), ("losses", not recipe.distill.asks_teacher)):
        if asked:
            raise RecipeError(
                f"distill.{word}: no training row has a label, so there is nothing to learn from without the teacher; set it otherwise"
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


def run(
    recipe: Recipe, model: nn.Module, rows: Rows, check: Batches, data: PreparedData, ctx: Context, label: str, *, objective: Objective
) -> History:
    """One training of the student; without a teacher, on the labelled rows alone."""
    batches, schedule = scheduled_batches(rows, recipe.distill.train, label=label, ctx=ctx, labelled=not objective.with_teacher)
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


def fresh_copy(model: nn.Module, taps: Mapping[str, Tap], *, device: str = CPU) -> nn.Module:
    """The student before its first step, on that device, whose tapped layers are heard."""
    copied = copy.deepcopy(model).to(device)
    attach_taps(copied, taps, side="student")
    return copied


def teacher_classifier(folder: Path, split: Split) -> nn.Linear:
    """The last layer of the teacher in a model folder, which makes logits of its embedding. Raises RecipeError where there is no such layer."""
    io, model = IOSpec.load(folder / "io_spec.json"), load_model(folder)
    batches = Batches(open_rows(split, io, folder, teacher=True), 4, shuffle=False)
    batch = batches.collect(np.arange(min(4, len(batches.groups))))
    with torch.no_grad():
        layer = last_layer(model, model(batch.inputs, batch.rows))
    if layer is None:
        raise RecipeError(
            "student.classifier: the teacher's logits are not one linear layer of its embedding, so there is no last layer to keep; "
            "set it to own, and let the loss hint stand in for simkd"
        )
    return layer


def end_in(model: nn.Module, layer: nn.Linear, seed: int) -> nn.Module:
    """The student with the teacher's last layer, kept as it is, behind a fresh projection."""
    seed_everything(seed)
    head = ReusedClassifier(model.get_submodule("head"), width=layer.in_features, classes=layer.out_features)
    head.output.load_state_dict(layer.state_dict())
    model.head = head
    return model


def write_assets(recipe: Recipe, teacher: Path, targets: Targets, data: PreparedData, out: Path) -> dict[str, dict]:
    """Writes what the student reads its inputs with, such as its tokenizer.json; gives what each modality knows of it."""
    assert targets.path
    wordings = read_wordings(targets.path)

    def inputs(m: str, split: str) -> list:
        more = wordings.inputs.to_pylist() if wordings and wordings.modality == m and split == "train" else []
        return [*data.split(split).inputs[m].to_pylist(), *more]

    return {m: modality(m).write_assets(recipe.student.encoders.get(m), teacher, partial(inputs, m), out=out) for m in recipe.modalities}


def score_arms(arms: dict[str, nn.Module], rows: Rows, keep: np.ndarray, data: PreparedData, *, clusters: np.ndarray) -> Scored:
    """Both students on the rows `keep` (R,) bool, all labelled; rows of the same of `clusters` (R,) int are one draw of luck."""
    batches, labels = Batches(rows, 512, shuffle=False, keep=keep), rows.labels[keep]
    a, b = (gains_of(predict(arms[arm], batches)[keep], labels, data) for arm in ("distilled", "alone"))  # (n,)
    paired = compare_paired(a, b, clusters=clusters[keep], margin=SAME_POINTS)
    return Scored(float(a.mean()), float(b.mean()), paired)


def gains_of(logits: np.ndarray, labels: np.ndarray, data: PreparedData) -> np.ndarray:
    """(n,) how good a student's answers are, each with what its own logits (n, K) say of how to answer."""
    task = data.task.with_facts(data.task.fit(logits, labels))
    return task.gains(task.answers(logits), labels)


def labels_alone(losses: list[Loss], data: PreparedData) -> list[Loss]:
    """The losses that need no teacher, or that of the task where the recipe has none."""
    return [loss for loss in losses if not reads_teacher(LOSSES[loss.name])] or [Loss.model_validate(term) for term in data.task.on_labels]


def score_reworded(arms: dict[str, nn.Module], rows: Rows, data: PreparedData, io: IOSpec, folder: Path) -> Scored | None:
    """Both students on the validation rows that have a paraphrase, in its words; None where there is none."""
    if not data.paraphrases:
        return None
    rows, keep = in_other_words(rows, data.split("validation"), data, io, folder)
    return score_arms(arms, rows, keep, data, clusters=np.asarray(rows.rows[data.paraphrased])) if keep.any() else None


def compare(validated: Scored, reworded: Scored | None = None, *, joint: bool = False) -> dict:
    """What the teacher was worth on validation and, where there are paraphrases, in other words; and which student ships therefore.

    joint: answers are used beside the teacher's own, so that only a student that it taught can ship.

    The student alone ships only where it is shown to be better: on validation, or in other words where validation shows no difference
    or one within SAME_POINTS. That none is shown does not say that the students are the same; where they are, the sentence says so.
    """
    comparisons = [scored.paired for scored in (validated, reworded) if scored]
    settled = deciding(*comparisons)
    shipped, reason = which_ships(DISTILLED, ALONE, *comparisons)
    if joint:
        shipped, reason = DISTILLED, f"{DISTILLED} ships, whose answers alone meet the teacher's"
    parts = [
        f"{place} {100 * scored.distilled:.2f} % with the teacher, {100 * scored.alone:.2f} % alone: {describe(scored.paired)}"
        for place, scored in (("validation", validated), ("in other words", reworded))
        if scored
    ]
    return {
        **validated.to_json(),
        "reworded": reworded.to_json() if reworded else None,
        "verdict": {"better": "helps", "worse": "hurts"}[settled.verdict] if settled else validated.paired.verdict,
        "shipped_arm": "alone" if shipped == ALONE else "distilled",
        "sentence": "; ".join([*parts, reason]),
    }


def describe(paired: Paired) -> str:
    """The numbers of a comparison of both students, and what they say of the teacher."""
    words = {
        "better": "the teacher helps",
        "worse": "the teacher does harm",
        "not shown": "no difference is shown, which is not to say that there is none",
    }
    return f"{describe_paired(paired.to_json())}: {words.get(paired.verdict, f'the student alone is {paired.verdict}')}"
