"""Whether the first weights that a student's encoder asks for can be had: published ones, or those of the teacher's encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from compress.recipe.packages import WEIGHTS
from compress.recipe.recipe import Recipe
from compress.recipe.yaml_source import Fault, Place
from compress.tables import encoder_table

FOREIGN = "transformers_cnn"
PICKED_FROM = {"mobilenet_v2": ("mobilenet_v2",), "distilbert": ("minilm_l6",)}  # student's encoder -> a `fit` teacher's of its family


def check_starts(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for each `initialise` that no run could follow; encoders of plugins, and teachers that are not known yet, are left to the run."""
    if recipe.student.initialise:
        yield from _check_continued(recipe)
        return
    for m in recipe.modalities:
        student, known = recipe.student.encoders.get(m), tables.get(encoder_table(m), {})
        teacher = recipe.teacher.encoders.get(m) if recipe.teacher.encoders else None
        how, place = getattr(student, "initialise", None), ("student", "encoders", m, "initialise")
        if teacher and teacher.model == FOREIGN:
            yield Fault(
                ("teacher", "encoders", m, "model"), f"{FOREIGN} is a student's; give the whole model as teacher.source: folder or hub"
            )
        if not _ours(known, student.model):
            continue
        if student.model == FOREIGN:
            yield from _check_foreign(student, ("student", "encoders", m))
            continue
        if how == "pretrained" and student.model not in WEIGHTS:
            there = ", ".join(name for name in known if name in WEIGHTS)
            yield Fault(
                place, f"{student.model} has no published weights; set it to random, or take a model that has: {there or 'none here'}"
            )
        asked = how == "teacher" and "initialise" in student.model_fields_set  # the default gives way where there is nothing to pick
        if asked and getattr(student, "vocab", None) == "own":
            yield Fault(place, "tokens of the student's own have no place in the teacher's layers; set it to random, or take another vocab")
        sources = PICKED_FROM.get(student.model, ())
        if asked and teacher and _ours(known, teacher.model) and teacher.model not in sources:
            way_out = f"a teacher with {' or '.join(sources)}, or set it to random" if sources else "set it to random"
            yield Fault(place, f"{student.model} cannot be picked from the teacher's {teacher.model}; {way_out}")


def _check_continued(recipe: Recipe) -> Iterator[Fault]:
    """What the student that another one goes on from has settled."""
    why = "student.initialise goes on from a student whose"
    for m in recipe.modalities:
        if "initialise" in recipe.student.encoders.get(m).model_fields_set:
            yield Fault(("student", "encoders", m, "initialise"), f"{why} weights are there already; leave it out")
    if recipe.student.classifier == "teacher":
        yield Fault(("student", "classifier"), f"{why} last layer is its own; leave it out")


def _check_foreign(student: Any, place: Place) -> Iterator[Fault]:
    """A model of transformers: one place that it comes from, and a word on its weights, which nobody should lose by saying nothing."""
    options, pinned = student.options, student.options.get("revision")
    if bool(options.get("folder")) + bool(options.get("id")) + bool(options.get("config")) != 1:
        yield Fault((*place, "options"), f"{FOREIGN} needs one of folder, id (with revision) and config")
    if options.get("id") and not re.fullmatch("[0-9a-f]{40}", str(pinned)):
        yield Fault((*place, "options", "revision"), "the commit of the hub's model is needed, 40 hex digits")
    if "initialise" not in student.model_fields_set:
        yield Fault(place, f"{FOREIGN} needs the key initialise: pretrained for the weights that come with it, or random")
    elif student.initialise == "teacher":
        yield Fault((*place, "initialise"), f"{FOREIGN} brings its own weights; set it to pretrained or random")


def _ours(known: Mapping[str, str], model: str) -> bool:
    return known.get(model, ".py:").find(".py:") < 0
