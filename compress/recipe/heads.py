"""What a recipe with several heads must say of them: a task for each that can be a head, and whose each term of the loss is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from compress.recipe.declarations import declaration, stated
from compress.recipe.needs import hidden_state
from compress.recipe.recipe import Recipe
from compress.recipe.yaml_source import Fault

DEFAULT = "single_label"  # the task of a recipe, and of a head, that names none
Tables = Mapping[str, Mapping[str, str]]


def objective_of(heads: Any, tables: Tables) -> list[dict[str, Any]]:
    """The losses of the tasks of data.heads, each as a term of its head; `heads` may be invalid."""
    entries = {name: tables["TASKS"].get(task) for name, task in _tasks(heads).items()}
    return [{**loss, "head": name} for name, entry in entries.items() if entry for loss in stated(entry, "objective") or ()]


def check_heads(recipe: Recipe, tables: Tables) -> Iterator[Fault]:
    """A fault for heads where the task has none, for a task that cannot be one, and for what heads cannot have."""
    entry = tables["TASKS"].get(recipe.data.task, "")
    if not entry or not stated(entry, "of_heads"):
        yield from _check_no_heads(recipe)
        return
    if len(recipe.data.heads) < 2:
        yield Fault(
            ("data", "heads"), f"{recipe.data.task} needs at least two heads, found {len(recipe.data.heads)}; of one take its own task"
        )
    kinds = {name: "" if ".py:" in known else stated(known, "as_head") for name, known in tables["TASKS"].items()}  # a plugin's is alone
    for name, head in recipe.data.heads.items():
        if head.task in kinds and not kinds[head.task]:
            heads = ", ".join(task for task, kind in kinds.items() if kind)
            yield Fault(("data", "heads", name, "task"), f"{head.task} cannot be one of several heads; these can: {heads}")
    source = tables["DATASETS"].get(recipe.data.source)
    if source and not _takes_heads(source):
        able = ", ".join(name for name, known in tables["DATASETS"].items() if _takes_heads(known))
        yield Fault(("data", "source"), f"{recipe.data.source} has one label a row, and each head needs its own; these have more: {able}")
    columns = recipe.data.options.get("columns")
    if isinstance(columns, dict) and "label" in columns:
        yield Fault(("data", "options", "columns", "label"), "each head names its own column (data.heads); leave it out")
    if recipe.data.imbalance != "none":
        yield Fault(("data", "imbalance"), "rare labels of one head are no rare labels of another; leave it out")
    if recipe.distill.objective == "auto":
        yield Fault(
            ("distill", "objective"), "pilots compare the terms of one task, and heads have several; leave it out and name distill.losses"
        )
    yield from _check_losses(recipe, tables)


def _check_no_heads(recipe: Recipe) -> Iterator[Fault]:
    limited = recipe.budget.max_head_drop_points is not None
    for place, given in ((("data", "heads"), bool(recipe.data.heads)), (("budget", "max_head_drop_points"), limited)):
        if given:
            yield Fault(place, f"{recipe.data.task} has one answer a row and no heads; set data.task: several, or leave it out")
    for index, loss in enumerate(recipe.distill.losses):
        if loss.head is not None:
            yield Fault(("distill", "losses", index, "head"), f"{recipe.data.task} has no heads; leave it out")


def _check_losses(recipe: Recipe, tables: Tables) -> Iterator[Fault]:
    heads = ", ".join(recipe.data.heads)
    for index, loss in enumerate(recipe.distill.losses):
        entry, place = tables["LOSSES"].get(loss.name), ("distill", "losses", index)
        shared = bool(entry and hidden_state(entry, loss.options))
        if loss.head is None and not shared:
            yield Fault((*place, "name"), f"{loss.name} reads the logits of one head; add head: one of {heads}")
        elif loss.head is not None and loss.head not in recipe.data.heads:
            yield Fault((*place, "head"), f"there is no head {loss.head!r}; data.heads has {heads}")
        elif loss.head is not None and shared:
            yield Fault((*place, "head"), f"{loss.name} compares hidden states, which all heads share; leave it out")
        elif loss.head is not None:
            task = recipe.data.heads[loss.head].task
            own = stated(tables["TASKS"].get(task, ""), "losses") or ()
            if entry and ".py:" not in entry and own and loss.name not in own:
                yield Fault((*place, "name"), f"{loss.name} is a loss of another task; head {loss.head}, {task}, takes {', '.join(own)}")


def _tasks(heads: Any) -> dict[str, str]:
    """Head -> the name of its task, of those that say it in a way that can be read."""
    given = {str(name): head or {} for name, head in heads.items()} if isinstance(heads, dict) else {}
    named = {name: head.get("task", DEFAULT) for name, head in given.items() if isinstance(head, dict)}
    return {name: task for name, task in named.items() if isinstance(task, str)}


def _takes_heads(source: str) -> bool:
    return "data_heads" in inspect.signature(declaration(source)).parameters
