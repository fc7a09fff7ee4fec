"""Recipes with several teachers: each is checked as if it were the only one, and what can be had of one alone is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compress.recipe.declarations import stated
from compress.recipe.needs import hidden_state
from compress.recipe.recipe import Recipe
from compress.recipe.yaml_source import Fault


def fill_teacher(data: dict[str, Any]) -> list[Fault]:
    """Writes the first of `teachers` to `teacher`, in place: what asks for one teacher finds that one. A fault where both are written."""
    teachers = data.get("teachers")
    if not isinstance(teachers, list) or not teachers:
        return []
    if data.setdefault("teacher", teachers[0]) != teachers[0]:
        return [Fault(("teachers",), "teacher is set as well, which is one alone; put it into the list")]
    return []


def each(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The recipe as plain data once for each of its teachers, as its only one; `data` may be invalid."""
    teachers = data.get("teachers")
    several = [one for one in teachers if isinstance(one, dict)] if isinstance(teachers, list) else []
    return [{**data, "teacher": one} for one in several] or [data]


def placed(faults: Iterator[Fault], index: int, several: bool) -> Iterator[Fault]:
    """The faults of a recipe with that teacher alone, where they stand in the recipe with several; those of other sections once."""
    for fault in faults:
        if several and fault.place[:1] == ("teacher",):
            yield fault._replace(place=("teachers", index, *fault.place[1:]))
        elif index == 0:
            yield fault


def check_several(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for each word that needs a single teacher."""
    entry = tables["TASKS"].get(recipe.data.task, "")
    one_of_many = bool(entry) and stated(entry, "one_of_many")
    if recipe.distill.combine != "mean" and not one_of_many:
        yield Fault(
            ("distill", "combine"), f"{recipe.distill.combine} weighs probabilities of one of K labels; of {recipe.data.task} take mean"
        )
    if not recipe.teachers:
        if recipe.distill.combine != "mean":
            yield Fault(
                ("distill", "combine"), "there is one teacher, so nothing is combined; leave it out, or name several under teachers"
            )
        return
    why = "several teachers have"
    if recipe.data.judge == "teacher":
        yield Fault(("data", "judge"), f"{why} no answer in common to judge by; take one, or set it to labels")
    if entry and stated(entry, "joint"):
        yield Fault(("teachers",), f"{why} no common space of vectors; take one")
    for index, loss in enumerate(recipe.distill.losses):
        known = tables["LOSSES"].get(loss.name)
        if known and (state := hidden_state(known, loss.options)):
            yield Fault(
                ("distill", "losses", index, "name"),
                f"{loss.name} compares the teacher's {state}, and {why} one each; take losses on answers",
            )
    if recipe.distill.teacher != "stored":
        yield Fault(("distill", "teacher"), f"{why} stored answers, which are combined once; set it to stored")
    if recipe.student.classifier == "teacher":
        yield Fault(("student", "classifier"), f"{why} no common last layer; leave it out")
    for m in recipe.distill.augment.modalities:
        if getattr(recipe.distill.augment.get(m), "wordings", 0):
            yield Fault(("distill", "augment", m, "wordings"), f"{why} no common vectors of words to find near ones in; set it to 0")
    if recipe.distill.augment.pairings:
        yield Fault(("distill", "augment", "pairings"), f"{why} no answers in common but those to the data's own rows; set it to 0")
    if recipe.budget.min_latency_ratio is not None:
        yield Fault(("budget", "min_latency_ratio"), f"{why} each a time of its own, and none in common; take max_latency_ms")
