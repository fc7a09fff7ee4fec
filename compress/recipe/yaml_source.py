"""YAML text -> plain data that knows the line of each place. Safe: no tags, no objects, no key given twice.

Scalars are read as YAML 1.2 has them: only true and false are booleans (`no` and `on` are texts), `1e-3` is a number, dates are texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import yaml

Place = tuple[str | int, ...]  # ("distill", "losses", 1, "name")
MAX_ENTRIES = 20_000  # of a whole recipe with its aliases followed: a few lines of nested aliases would fill the memory

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {_PREFIX + name for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_SCALARS = (  # type, pattern, possible first characters
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
)


class Fault(NamedTuple):
    """Something wrong at a place; the message says what, and the way out."""

    place: Place
    message: str
    line: int | None = None  # where the place alone does not tell, as for a key given twice


class Source(NamedTuple):
    """Plain data, the line of each place in it, and what is wrong with it; `data` is None where nothing could be read."""

    data: Any
    lines: dict[Place, int]
    faults: list[Fault]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # the stubs call it an instance's


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_PREFIX + _name, re.compile(f"^(?:{_pattern})$"), _first)


def dotted(place: Place) -> str:
    """`distill.losses[1].name`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def read_yaml(text: str) -> Source:
    """The data of one YAML document; every fault is found, unless the text is not YAML at all."""
    lines: dict[Place, int] = {}
    faults: list[Fault] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Source(None, lines, [])
        data = _Walk(loader, lines, faults).value(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return Source(None, lines, [Fault((), _explain(error), mark.line + 1 if mark else None)])
    except yaml.YAMLError as error:  # a control character: it has no mark
        return Source(None, lines, [Fault((), f"not YAML: {error}")])
    except RecursionError:
        return Source(None, lines, [Fault((), "nested too deeply")])
    return Source(data, lines, faults)


def _explain(error: yaml.MarkedYAMLError) -> str:
    if error.problem and "'\\t'" in error.problem:
        return "a tab starts a token; YAML is indented with spaces"
    if error.context and "document" in error.context:
        return "a recipe is one YAML document; remove the line '---'"
    return f"not YAML: {error.problem}" + (f" ({error.context})" if error.context else "")


class _Walk:
    """Turns nodes into data, and notes lines and faults on the way."""

    def __init__(self, loader: yaml.SafeLoader, lines: dict[Place, int], faults: list[Fault]) -> None:
        self.loader, self.lines, self.faults, self.entries = loader, lines, faults, 0

    def value(self, node: yaml.Node, place: Place, above: tuple[int, ...]) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        self.entries += 1
        if id(node) in above or self.entries > MAX_ENTRIES:
            problem = "an alias that contains itself" if id(node) in above else f"more than {MAX_ENTRIES} entries"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        if node.tag not in _PLAIN:
            tag = node.tag.replace(_PREFIX, "!!")
            return self._refuse(place, node, f"the YAML tag {tag!r} is not allowed; a recipe holds texts, numbers, lists and sections only")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        read: Callable[..., Any] = self._section if isinstance(node, yaml.MappingNode) else self._list
        return read(node, place, (*above, id(node)))

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):  # an explicit tag that does not fit, such as `!!int x`
            return self._refuse(place, node, f"{node.value!r} is not what its tag {node.tag.replace(_PREFIX, '!!')!r} says")

    def _list(self, node: yaml.SequenceNode, place: Place, above: tuple[int, ...]) -> list:
        return [self.value(child, (*place, index), above) for index, child in enumerate(node.value)]

    def _section(self, node: yaml.MappingNode, place: Place, above: tuple[int, ...]) -> dict:
        data: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if key.tag != _PREFIX + "str":
                written = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or section"
                self.faults.append(Fault(place, f"{written} is no key; keys are texts, so put it in quotes", line))
            elif key.value in data:
                first = self.lines[(*place, key.value)]
                self.faults.append(Fault((*place, key.value), f"this key is given twice, first in line {first}; remove one", line))
            else:
                self.lines[(*place, key.value)] = line
                data[key.value] = self.value(child, (*place, key.value), above)
        return data

    def _refuse(self, place: Place, node: yaml.Node, message: str) -> None:
        self.faults.append(Fault(place, message, node.start_mark.line + 1))
