"""`-o a.b=c`: one value of a recipe set from the command line, before validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from compress.recipe.messages import section_at
from compress.recipe.sections import Section
from compress.recipe.yaml_source import Fault, Place, dotted, read_yaml

_PLACE = re.compile(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*")
_STEP = re.compile(r"([\w-]+)|\[(\d+)\]")


def apply_overrides(
    data: dict[str, Any], overrides: Sequence[str], root: type[Section]
) -> tuple[dict[Place, str], list[tuple[str, Fault]]]:
    """Sets the values in `data`; gives the override behind each place that it made or changed, and the faults, each with its override.

    The value is read as YAML. A section that the recipe leaves out is made; a list that it leaves out starts from its default. Whether
    the place is known to the grammar `root` is left to the validation.
    """
    origins: dict[Place, str] = {}
    faults: list[tuple[str, Fault]] = []
    for override in overrides:
        left, equals, right = override.partition("=")
        if not equals or not _PLACE.fullmatch(left):
            faults.append((override, Fault((), "an override is written place=value, such as distill.losses[1].weight=0.5")))
            continue
        place: Place = tuple(int(index) if index else name for name, index in _STEP.findall(left))
        value = read_yaml(right)
        problem = value.faults[0].message if value.faults else _assign(data, place, value.data, root)
        if problem:
            faults.append((override, Fault(place, problem)))
        else:
            origins = {known: by for known, by in origins.items() if known[: len(place)] != place} | {place: override}
    return origins, faults


def _assign(data: Any, place: Place, value: Any, root: type[Section]) -> str | None:
    """Sets one value; gives what is wrong when the place cannot be reached."""
    holder: Any = data
    for depth, step in enumerate(place):
        problem = _reaches(holder, step, place[:depth])
        if problem:
            return problem
        if depth == len(place) - 1:
            holder[step] = value
        elif isinstance(holder, dict) and holder.get(step) is None:
            holder[step] = _default_list(place[: depth + 1], root) if isinstance(place[depth + 1], int) else {}
        holder = holder[step]
    return None


def _reaches(holder: Any, step: str | int, above: Place) -> str | None:
    name = dotted(above)
    if isinstance(step, int):
        if not isinstance(holder, list):
            return f"{name} is no list, so it has no entry [{step}]"
        return None if step < len(holder) else f"{name} has {len(holder)} entries, the first is [0]; there is no [{step}]"
    return None if isinstance(holder, dict) else f"{name} is no section, so it has no key {step!r}"


def _default_list(place: Place, root: type[Section]) -> list[Any]:
    section = section_at(place[:-1], root)
    field = section.model_fields.get(str(place[-1])) if section else None
    default = field.default if field and isinstance(field.default, list) else []
    return [entry.model_dump(exclude_unset=True) if isinstance(entry, Section) else entry for entry in default]
