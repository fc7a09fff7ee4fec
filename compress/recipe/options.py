"""Checks the options a recipe gives to an entry of a table (a data set, loss, encoder) against the entry's signature.

In: the function or class, the options as YAML gave them, and their dotted place in the recipe. Out: a list of problems, empty when all is well.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_options(function: Callable[..., Any], options: Mapping[str, Any], place: str, *, injected: Collection[str] = ()) -> list[str]:
    """Every fault of `options`, one line each: unknown name (with the nearest one), wrong type, missing option.

    An option is a keyword-only parameter (of a class: of its __init__). Those named in `injected`, such as `base`, are given by the program
    and are no options. Types are checked for str, int, float, bool, None, Literal, list, tuple, dict and unions of them; a
    parameter of another type takes any value.
    """
    allowed = option_parameters(function, injected=injected)
    hints = _hints(function, allowed)
    problems = []
    for name, value in options.items():
        if name not in allowed:
            problems.append(f"{place}.{name}: unknown option{_nearest(name, allowed)}; {function.__name__} takes {_listed(allowed)}")
        elif not _matches(value, hints.get(name, Any)):
            problems.append(f"{place}.{name}: {value!r} is {type(value).__name__}, but {_written(hints[name])} is needed")
    for name, parameter in allowed.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            problems.append(f"{place}.{name}: missing; {function.__name__} needs it")
    return problems


def option_parameters(function: Callable[..., Any], *, injected: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """The parameters that a recipe may set, by name and in order."""
    parameters = inspect.signature(function).parameters
    return {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY and name not in injected}


def _hints(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The types of these parameters alone: other annotations may name what is imported for type checkers only."""
    annotations = {name: one.annotation for name, one in parameters.items() if one.annotation is not one.empty}
    return get_type_hints(type("Options", (), {"__annotations__": annotations}), globalns=vars(sys.modules[function.__module__]))


def _nearest(name: object, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), allowed, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _listed(allowed: Collection[str]) -> str:
    return ", ".join(allowed) or "no options"


def _matches(value: object, hint: Any) -> bool:
    """Whether a YAML value fits a type; an int is a fine float, but a bool is neither."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_matches(value, one) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if hint in (None, type(None)):
        return value is None
    if hint in (list, tuple) or origin in (list, tuple):
        return _matches_sequence(value, origin or hint, arguments)
    if hint is dict or origin is dict:
        return isinstance(value, dict) and (not arguments or all(_matches(v, arguments[1]) for v in value.values()))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (str, bool) else True


def _matches_sequence(value: object, kind: type, arguments: tuple) -> bool:
    """YAML has lists only, so a list stands for a tuple too."""
    if not isinstance(value, list | tuple):
        return False
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(_matches, value, arguments))
    return not arguments or all(_matches(one, arguments[0]) for one in value)


def _written(hint: Any) -> str:
    """The type as a reader of the recipe knows it."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_written(one) for one in get_args(hint))
    if hint in (None, type(None)):
        return "null"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
