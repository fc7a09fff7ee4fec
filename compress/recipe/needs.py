"""What a loss needs besides logits, read from the signature of its function without importing it; and whether a recipe's losses can have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compress.recipe.declarations import annotation, declaration
from compress.recipe.options import option_parameters
from compress.recipe.yaml_source import Fault
from compress.tables import INJECTED, LOSSES

if TYPE_CHECKING:
    from compress.recipe.recipe import Recipe

STATES = ("embedding",)  # hidden states that every model gives: what its last layer reads
NAMING = ("tap", "other")  # options of a loss that name hidden states


def compared_states(entry: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Option -> the hidden state that it names, of a loss with these options: `tap`, and `other` where it compares two."""
    asked = option_parameters(declaration(entry), injected=INJECTED)
    return {name: options.get(name, asked[name].default) for name in NAMING if name in asked}


def hidden_state(entry: str, options: Mapping[str, Any]) -> str | None:
    """The hidden state that a loss with these options compares first, and that `project` is of; None for one that compares none."""
    return compared_states(entry, options).get("tap")


def reads_teacher(entry: str) -> bool:
    """Whether a loss needs a teacher: all do but those whose parameter `teacher` may be None."""
    return "None" not in annotation(entry, "teacher")


def without_teacher(losses: Iterable[Any]) -> list[Any]:
    """Those of a recipe's losses that need none."""
    return [loss for loss in losses if not reads_teacher(LOSSES[loss.name])]


def hidden_states(losses: Iterable[Any]) -> list[str]:
    """The hidden states that the losses of a recipe compare, each once and in order."""
    named = [compared_states(LOSSES[loss.name], loss.options) for loss in losses if loss.name in LOSSES]
    return sorted({state for states in named for state in states.values()})


def check_losses(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for each loss that could not have what it needs, for taps whose name is taken, and for words of a teacher where none is asked."""
    entries = [tables["LOSSES"].get(loss.name) for loss in recipe.distill.losses]
    if recipe.distill.objective == "losses" and all(entry and not reads_teacher(entry) for entry in entries):
        for word in [
            word for word, said in (("compare_alone", recipe.distill.compare_alone), ("rounds", recipe.distill.rounds > 1)) if said
        ]:
            yield Fault(
                ("distill", word), "no term of distill.losses reads a teacher, so the student trains alone as it is; add one, such as kd"
            )
    for name in set(recipe.distill.taps) & {"logits", *STATES}:
        yield Fault(("distill", "taps", name), f"every model has {name} already; give the tap another name")
    for index, loss in enumerate(recipe.distill.losses):
        entry = tables["LOSSES"].get(loss.name)
        there = (*STATES, *recipe.distill.taps)
        for option, state in compared_states(entry, loss.options).items() if entry else ():
            if state not in there:
                message = f"no hidden state {state!r}; there is {', '.join(there)}, and distill.taps may name more"
                yield Fault(("distill", "losses", index, "options", option), message)
        if loss.name == "simkd" and recipe.student.classifier != "teacher":
            message = "simkd leads to what the teacher's last layer reads, so the student must end in it: set student.classifier to teacher"
            yield Fault(("distill", "losses", index, "name"), message)
