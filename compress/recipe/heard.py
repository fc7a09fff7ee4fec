"""What cannot be had of a teacher that is heard and not looked into: a fault for each part of a recipe that asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compress.recipe.declarations import class_literal, stated
from compress.recipe.needs import hidden_state
from compress.recipe.recipe import Recipe
from compress.recipe.teacher import SOURCES
from compress.recipe.yaml_source import Fault, Place


def check_teacher(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for each word that needs more of the teacher than its source gives."""
    source = SOURCES[recipe.teacher.source]
    if not source.inside:
        yield from _check_inside(recipe, tables)
    if not source.asked:
        yield from _check_asked(recipe)
    if recipe.teacher.form is not None:
        yield from _check_form(recipe, tables)
    if recipe.teacher.source == "zero_shot":
        yield from _check_zero_shot(recipe)
    if recipe.teacher.prompt is not None:
        yield from _check_generative(recipe, tables)


def _check_inside(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """Hidden states and weights."""
    whose = f"a teacher of source {recipe.teacher.source}"
    for index, loss in enumerate(recipe.distill.losses):
        entry = tables["LOSSES"].get(loss.name)
        if entry and (state := hidden_state(entry, loss.options)):
            yield Fault(
                ("distill", "losses", index, "name"), f"{loss.name} compares the teacher's {state}, and {whose} shows its answers alone"
            )
    for m in recipe.distill.augment.modalities:
        if getattr(recipe.distill.augment.get(m), "wordings", 0):
            yield Fault(("distill", "augment", m, "wordings"), f"{whose} shows no vectors of words to find near ones in; set it to 0")
    if recipe.student.classifier == "teacher":
        yield Fault(("student", "classifier"), f"{whose} has no last layer that could be kept; leave it out")
    for m in recipe.modalities:
        section, place = recipe.student.encoders.get(m), ("student", "encoders", m)
        if getattr(section, "initialise", None) == "teacher" and "initialise" in section.model_fields_set:
            yield Fault((*place, "initialise"), f"{whose} has no weights to start from; set it to random")
        if getattr(section, "vocab", None) == "full" and recipe.teacher.tokenizer is None:
            yield Fault((*place, "vocab"), f"{whose} has no vocabulary that could be kept; leave it out, and one is learnt from the texts")


def _check_asked(recipe: Recipe) -> Iterator[Fault]:
    """Answers to what it was never asked, and a file to measure."""
    table = recipe.teacher.source == "answers"
    why = "a table has no answers to what nobody asked" if table else "such a model is asked once for each row, as it stands"
    if recipe.distill.teacher != "stored":
        yield Fault(("distill", "teacher"), f"{why}; set it to stored")
    if recipe.distill.augment.pairings:
        yield Fault(("distill", "augment", "pairings"), f"{why}; set it to 0")
    if recipe.budget.min_latency_ratio is not None:
        unmeasured = "a table of answers takes no time that could be measured" if table else "what a language model takes is not measured"
        yield Fault(("budget", "min_latency_ratio"), f"{unmeasured}; take max_latency_ms")
    if recipe.teacher.inputs is not None and table:
        yield Fault(("teacher", "inputs"), "a table reads no inputs; leave it out")


def _check_form(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """Numbers that the task cannot read."""
    forms: Any = _forms(tables["TASKS"].get(recipe.data.task))
    place: Place = ("teacher", "form")
    if not forms:
        yield Fault(place, f"{recipe.data.task} does not say how such answers become a model's numbers (`forms` of the task)")
    elif recipe.teacher.form not in forms:
        yield Fault(place, f"{recipe.data.task} reads {' or '.join(forms)} of such a teacher, found {recipe.teacher.form}")


def _check_zero_shot(recipe: Recipe) -> Iterator[Fault]:
    """What prompts cannot say."""
    if len(recipe.modalities) > 1:
        yield Fault(
            ("teacher", "source"), f"a dual encoder compares one input with prompts, and the data has {' and '.join(recipe.modalities)}"
        )
    if recipe.data.task == "multi_label":
        yield Fault(("teacher", "source"), "which of several prompts is nearest says nothing of several tags; take another teacher")


def _check_generative(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """Inputs that the model cannot read, and texts that the prompt leaves out."""
    source, task = recipe.teacher.source, tables["TASKS"].get(recipe.data.task)
    worded = {m: bool(stated(tables["MODALITIES"].get(m, ""), "worded")) for m in recipe.modalities}
    seen = [m for m, says in worded.items() if not says]
    pictures = next(iter(tables["MODALITIES"]))
    if seen != ([pictures] if source == "vlm" else []):
        takes = "an image, with texts or without," if source == "vlm" else "texts alone"
        yield Fault(("teacher", "source"), f"{source} reads {takes} and the data has {' and '.join(recipe.modalities)}")
    for m in (m for m, says in worded.items() if says and f"{{{m}}}" not in str(recipe.teacher.prompt)):
        yield Fault(("teacher", "prompt"), f"has no {{{m}}}, so every row would be asked the same")
    if task and stated(task, "one_of_many") is not True:
        yield Fault(("teacher", "source"), f"the likeliest of several answers says nothing of {recipe.data.task}; take another teacher")


def _forms(entry: str | None) -> tuple[str, ...]:
    try:
        return tuple(class_literal(entry, "forms")) if entry else ()
    except LookupError:  # as in a plugin that says nothing of it
        return ()
