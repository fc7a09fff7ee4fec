"""Stage `distill`: the student, started from the teacher's layers or from published weights, trained on labels and on the teacher's answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
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
from compress.measures.paired import Paired, compare_paired, deciding, describe_paired, which_ships
from compress.models.cost import multiply_adds
from compress.models.reuse import ReusedClassifier, last_layer
from compress.models.saved import copy_model, count_parameters, load_model
from compress.models.taps import Tap, attach_taps
from compress.placement import CPU
from compress.recipe.recipe import Recipe
from compress.stages.distill.rounds import Round, describe_rounds, further_rounds
from compress.stages.distill.start import Start, begin, require_labels, run, save_student
from compress.store.artifacts import Targets, TorchModel
from compress.tasks.labels import known
from compress.training.batches import Batches, Rows
from compress.training.checkpoint import seed_everything
from compress.training.loop import predict
from compress.training.rows import in_other_words, open_rows
from compress.training.teaching import Teaching, choose_teaching, objective_for, save_projections

SAME_POINTS = 0.5  # two students whose difference is known to lie within are the same
DISTILLED, ALONE = "the distilled student", "the student alone"


class Scored(NamedTuple):
    """Mean gains (shares of right answers) of both students on the same rows, and the distilled one against the one alone."""

    distilled: float
    alone: float
    paired: Paired

    def to_json(self) -> dict:
        """Plain data."""
        return {**self._asdict(), "paired": self.paired.to_json()}


def distill(
    recipe: Recipe,
    teacher: TorchModel,
    targets: Targets,
    data: PreparedData,
    alone: Callable[[], TorchModel] | None = None,
    *,
    ctx: Context,
) -> TorchModel:
    """The trained student as a model folder, with its histories and what the teacher was worth on validation.

    alone: gives the student alone once that is trained, which may be while this one is; the better of both ships.
    """
    if not recipe.distill.asks_teacher:
        require_labels(data, "losses")
    start = begin(recipe, teacher, targets, data, ctx)
    model, details = taught_student(recipe, start, teacher, targets, data, ctx)
    check, labelled = start.check, known(start.check.data.labels)
    arms, shipped = {"distilled": model}, "distilled"
    if alone:
        unaided = alone()
        assert unaided.path
        arms["alone"], details["history_alone"] = load_model(unaided.path).to(ctx.device), unaided.details["history"]
        validated = score_arms(arms, check.data, labelled, data, clusters=data.split("validation").clusters)
        details["comparison"] = compare(validated, score_reworded(arms, check.data, data, start.io, ctx.out), joint=data.task.joint)
        shipped = details["comparison"]["shipped_arm"]
        copy_model(unaided.path, arm_folder(ctx.out, "alone", shipped))
        ctx.say(f"distill: {details['comparison']['sentence']}")
    save_student(model, arm_folder(ctx.out, "distilled", shipped), recipe, start.io)
    details["shipped_arm"] = shipped
    details["facts"] = data.task.fit(predict(arms[shipped], check)[labelled], np.asarray(check.data.labels)[labelled])
    best = details["history_alone" if shipped == "alone" else "history"]["best"]
    metrics = {"validation_accuracy": {"value": 100 * best, "unit": "%", "samples": int(labelled.sum())}}
    return TorchModel(io_spec=start.io, metrics=metrics, details=details)


def taught_student(
    recipe: Recipe, start: Start, teacher: TorchModel, targets: Targets, data: PreparedData, ctx: Context
) -> tuple[nn.Module, dict]:
    """The student trained as the recipe's losses say, round by round, and what is told of it."""
    assert teacher.path and targets.path
    rows, check, details = start.rows, start.check, dict(start.details)
    kept = teacher_classifier(teacher.path, data.split("train")) if recipe.student.classifier == "teacher" else None
    begun = end_in(start.model, kept, ctx.seed) if kept else start.model
    details |= {"parameters": count_parameters(begun), "multiply_adds": multiply_adds(begun, start.io)}
    ctx.tell({"student": {name: details[name] for name in ("parameters", "multiply_adds")}})
    fresh = partial(fresh_copy, begun, recipe.distill.student_taps, device=ctx.device)
    if recipe.distill.asks_teacher:
        taught = choose_teaching(recipe, fresh, rows, check, teacher=teacher.path, targets=targets.path, data=data, ctx=ctx)
    else:
        objective = objective_for(recipe.distill.losses, fresh(), start.unaided, with_teacher=False)
        taught = Teaching(start.unaided, objective, {})
    model = fresh()
    details["teaching"] = taught.notes
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
    return model, details


def arm_folder(out: Path, arm: str, shipped: str) -> Path:
    """Where an arm's model lies in the artifact: at its top the one that ships."""
    return out if arm == shipped else out / arm


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
