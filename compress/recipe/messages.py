"""pydantic's errors in the words of a recipe: what must stand there, what was found, and the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from compress.recipe.sections import Section

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from compress.recipe.yaml_source import Place

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a section of `key: value` lines",
    "model_type": "a section of `key: value` lines",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def explain(error: ErrorDetails, root: type[Section]) -> str:
    """One line for one error of a validation; `root` is the section that was validated."""
    kind, place, found, context = error["type"], error["loc"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(place, root)
    if kind == "missing":
        return f"this key is required: {_description(place, root)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, found {show(found)}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = context[bound]
        return f"must be {words} {limit if isinstance(limit, int) else f'{limit:g}'}, found {show(found)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"must be one of {', '.join(choices)}; found {show(found)}{did_you_mean(found, choices)}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}, found {show(found)}. {_description(place, root)}"
    if kind == "too_short":
        return f"needs at least {context['min_length']} entry"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, found {show(found)}"


def show(value: Any) -> str:
    """A value as YAML shows it, with its type; a section or list by its kind alone."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    return f"{value}"


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no name is near."""
    near = difflib.get_close_matches(str(name), list(names), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def section_at(place: Place, root: type[Section]) -> type[Section] | None:
    """The section of the grammar `root` that stands at a place, or whose list does; None where there is none."""
    section: type[Section] | None = root
    named = False  # the step is a name of the user's own
    for step in place:
        if isinstance(step, str) and not named:
            field = section.model_fields.get(step) if section else None
            section = _section_in(field.annotation) if field else None
            named = field is not None and get_origin(field.annotation) is dict and section is not None
        else:
            named = False
    return section


def subsections(section: type[Section]) -> Mapping[str, type[Section]]:
    """The keys of a section that hold sections (or lists of them)."""
    found = {name: _section_in(field.annotation) for name, field in section.model_fields.items()}
    return {name: inner for name, inner in found.items() if inner}


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((inner for inner in map(_section_in, get_args(annotation)) if inner), None)


def _unknown_key(place: Place, root: type[Section]) -> str:
    key, section = str(place[-1]), section_at(place[:-1], root)
    keys = list(section.model_fields) if section else []
    near = did_you_mean(key, keys)
    if not near and section:  # `distill.epochs` is likely meant as `distill.train.epochs`
        deeper = [f"{name}.{key}" for name, inner in subsections(section).items() if key in inner.model_fields]
        near = f" (did you mean {deeper[0]!r}?)" if deeper else ""
    return f"unknown key {key!r}{near}" + ("" if near else f"; known here: {', '.join(keys)}")


def _description(place: Place, root: type[Section]) -> str:
    section = section_at(place[:-1], root)
    field = section.model_fields.get(str(place[-1])) if section else None
    return (field.description if field else None) or "see `compress schema`"
