"""A recipe file -> a checked `Recipe`, or every fault of it at once with file, line, dotted place and nearest name.

Nothing is run and nothing heavy is imported: YAML is read safely, names are looked up in tables.py, options are compared with signatures
read from source, and the files that the recipe names must be there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compress.errors import RecipeError
from compress.recipe.declarations import class_literal, declaration
from compress.recipe.heard import check_teacher
from compress.recipe.messages import did_you_mean, explain, subsections
from compress.recipe.needs import check_losses
from compress.recipe.options import check_options
from compress.recipe.overrides import apply_overrides
from compress.recipe.recipe import Recipe
from compress.recipe.rooms import recipe_type
from compress.recipe.sections import Budget, Section
from compress.recipe.several import check_several, each, fill_teacher, placed
from compress.recipe.shares import check_shares
from compress.recipe.starts import check_starts
from compress.recipe.tasks import LEFT_OUT, check_task, check_unbuilt, fill_objective
from compress.recipe.yaml_source import Fault, Place, dotted, read_yaml
from compress.tables import INJECTED, MODALITIES, TABLES, encoder_table, read_plugin

S = TypeVar("S", bound=Section)
_SINGULAR = {
    "DATASETS": "data set",
    "TASKS": "task",
    "MODELS": "model",
    "LOSSES": "loss",
}
_FILE_OPTIONS = ("train", "validation", "test", "path", "folder")  # options of the data set `manifest` that are paths


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that passed every check, and where it came from."""

    recipe: Recipe
    path: Path  # as it was given
    base: Path  # its folder: relative paths in it start here
    text: str  # the file, before overrides
    overrides: tuple[str, ...] = ()

    @property
    def plugins(self) -> list[Path]:
        """The plugin files, ready for `compress.tables.load_plugins`."""
        return [self.base / plugin for plugin in self.recipe.plugins]


@dataclass(frozen=True)
class _Origins:
    """Where each place of the recipe was written: a line of the file, or an override."""

    path: Path
    lines: dict[Place, int]
    overrides: dict[Place, str]

    def render(self, fault: Fault) -> tuple[float, str]:
        """(line, to sort by; `file:line place: message`, or `-o place=value: message`)."""
        override = self._override(fault)
        if override is not None:
            written = "" if override.partition("=")[0] == dotted(fault.place) else f" {dotted(fault.place)}"
            return float("inf"), f"-o {override}{written}: {fault.message}"
        line = fault.line or self._line(fault.place)
        place = dotted(fault.place)
        return line or 0, f"{self.path}{f':{line}' if line else ''}{f' {place}' if place else ''}: {fault.message}"

    def _override(self, fault: Fault) -> str | None:
        """The override that wrote the place, or what stands nearest above it, or the section whose parts contradict each other."""
        if fault.line is not None:
            return None
        for length in range(len(fault.place), 0, -1):
            above = fault.place[:length]
            beneath = [override for place, override in self.overrides.items() if place[:length] == above]
            if beneath and (above not in self.lines or length == len(fault.place)):
                return self.overrides.get(above, beneath[-1])
            if above in self.lines:
                return None
        return None

    def _line(self, place: Place) -> int | None:
        return next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe at `path`, with `overrides` (each `a.b=value`) applied before validation.

    Raises: RecipeError with every fault that was found.
    """
    text = _read_text(path)
    source = read_yaml(text)
    if not isinstance(source.data, dict):
        origins = _Origins(path, source.lines, {})
        if source.faults:
            raise RecipeError([origins.render(fault)[1] for fault in source.faults])
        raise RecipeError(f"{path}:1: a recipe is a section of `key: value` lines, and this file is not; `compress init FILE` writes one")
    plugged = copy.deepcopy(source.data)  # plugins decide the grammar, so theirs are the first overrides
    apply_overrides(plugged, [override for override in overrides if override.startswith("plugins")], Recipe)
    tables, unusable = _read_tables(plugged, path.parent)
    grammar = recipe_type(tables["MODALITIES"])
    overridden, unreachable = apply_overrides(source.data, overrides, grammar)
    fill_objective(source.data, tables)
    doubled = fill_teacher(source.data)
    origins = _Origins(path, {place: line for place, line in source.lines.items() if not _starts_with(place, overridden)}, overridden)
    recipe, invalid = _validate(source.data, grammar)
    unbuilt = list(check_unbuilt(source.data, tables))
    broken = {fault.place for fault in [*source.faults, *unbuilt]}
    invalid = [fault for fault in invalid if not _starts_with(fault.place, broken)]  # a refused value is no second fault
    several = "teachers" in source.data
    invalid = [fault for fault in invalid if not (several and fault.place[:1] == ("teacher",))]  # told of the list's first
    names, fits, files = list(doubled), list[Fault](), list[Fault]()
    for index, data in enumerate(each(source.data)):
        one = recipe.taught_by(index + 1) if recipe and recipe.teachers else recipe
        names += [f for f in placed(_check_names(data, tables), index, several) if f.place not in broken]
        fits += placed(check_task(data, tables, one), index, several)
        files += placed(_check_files(data, path.parent), index, several)
        if one:
            fits += placed(chain(check_starts(one, tables), check_teacher(one, tables)), index, several)
    if recipe:
        fits += [*check_losses(recipe, tables), *check_several(recipe, tables), *check_shares(recipe, tables)]
    faults = [*source.faults, *invalid, *unusable, *unbuilt, *names, *fits, *files]
    rendered = sorted(map(origins.render, faults), key=lambda item: item[0])
    problems = [f"-o {override}: {fault.message}" for override, fault in unreachable] + [text for _, text in rendered]
    if problems or recipe is None:
        raise RecipeError(list(dict.fromkeys(problems)))
    return LoadedRecipe(recipe, path, path.parent, text, tuple(overrides))


def load_budget(path: Path) -> Budget:
    """The budget in a file of its own, which holds the lines of a recipe's `budget`. Raises: RecipeError with every fault."""
    return load_section(path, Budget, like="a budget is lines such as `max_size_mb: 4`")


def load_section(path: Path, grammar: type[S], *, like: str) -> S:
    """A file of its own that holds the lines of one section; `like` says what these are. Raises: RecipeError with every fault."""
    source = read_yaml(_read_text(path))
    origins = _Origins(path, source.lines, {})
    if not isinstance(source.data, dict) and not source.faults:
        raise RecipeError(f"{path}:1: {like}, and this file has none")
    section, invalid = _validate(source.data or {}, grammar)
    faults = sorted(map(origins.render, [*source.faults, *invalid]), key=lambda item: item[0])
    if faults or section is None:
        raise RecipeError([text for _, text in faults])
    return section


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    schema = recipe_type(MODALITIES).model_json_schema()
    schema["required"].remove("teacher")
    schema["anyOf"] = [{"required": ["teacher"]}, {"required": ["teachers"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _starts_with(place: Place, above: Collection[Place]) -> bool:
    return any(place[:length] in above for length in range(1, len(place) + 1))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.yaml")])
        raise RecipeError(f"{path}: no such file{near}; `compress list recipes` shows those here") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not a text in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error


def _validate(data: dict[str, Any], grammar: type[S]) -> tuple[S | None, list[Fault]]:
    # Strict, or `"3"` and `true` would pass as numbers; by way of JSON, because strict validation of a dict wants instances of sections.
    try:
        return grammar.model_validate_json(json.dumps(_keep_defaults(data, grammar)), strict=True), []
    except ValidationError as error:
        return None, [Fault(item["loc"], explain(item, grammar)) for item in error.errors()]


def _keep_defaults(data: dict[str, Any], section: type[Section]) -> dict[str, Any]:
    """`data` with the rest of a default that it gives in part: `teacher: {train: {epochs: 5}}` keeps the teacher's own batch size,
    where pydantic alone would take that of any training run."""
    filled = dict(data)
    for name, inner in subsections(section).items():
        if isinstance(data.get(name), list):
            filled[name] = [_keep_defaults(one, inner) if isinstance(one, dict) else one for one in data[name]]
        if isinstance(data.get(name), dict):
            default = section.model_fields[name].default
            own = default.model_dump(exclude_unset=True) if isinstance(default, Section) else {}
            filled[name] = _keep_defaults(own | data[name], inner)
    return filled


def _read_tables(data: dict[str, Any], base: Path) -> tuple[dict[str, dict[str, str]], list[Fault]]:
    """Our tables with what the recipe's plugins add, read from their source; and the faults of plugins that cannot be read.

    Plugins that this process has loaded for another recipe are left out: a recipe means the same in every process.
    """
    tables: dict[str, dict[str, str]] = {
        table: {name: entry for name, entry in entries.items() if ".py:" not in entry} for table, entries in TABLES.items()
    }
    faults: list[Fault] = []
    for place, file in _listed(data, "plugins"):
        if not (base / file).is_file():
            continue  # told with the other files that are missing
        try:
            found = read_plugin(base / file)
            for entry in found.get("MODALITIES", {}).values():
                for literal in ("words", "student", "device"):
                    class_literal(entry, literal)
            for entry in found.get("TASKS", {}).values():
                for literal in ("losses", "objective", "device"):
                    class_literal(entry, literal)
        except (RecipeError, LookupError) as error:
            faults.append(Fault(place, str(error)))
        else:
            for table, entries in found.items():
                tables.setdefault(table, {}).update(entries)
    return tables, faults


def _check_names(data: dict[str, Any], tables: dict[str, dict[str, str]]) -> Iterator[Fault]:
    """Names that no table has, and options that do not fit the signature of what they are for; `data` may be invalid elsewhere."""
    for place, key, table, default in _references(data, tables["MODALITIES"]):
        section = _at(data, place)
        name = section.get(key, default) if isinstance(section, dict) else None
        if not isinstance(name, str):
            continue  # absent, or of a wrong type, which the validation says
        if name not in tables.get(table, {}):
            near = did_you_mean(name, tables.get(table, {}))
            why = LEFT_OUT.get(name) if key == "model" else None
            told = f"{name} {why}" if why else f"unknown {_singular(table)} {name!r}{near}"
            yield Fault((*place, key), f"{told}. See 'compress list {table.lower()}'")
        else:
            options = "task_options" if table == "TASKS" else "options"
            yield from _check_options(section.get(options, {}), tables[table][name], (*place, options))


def _references(data: dict[str, Any], modalities: dict[str, str]) -> Iterator[tuple[Place, str, str, str | None]]:
    """(place of a section, its key that holds a name, the table of the name, the default name)."""
    yield ("data",), "source", "DATASETS", None
    yield ("data",), "task", "TASKS", "single_label"
    heads = _at(data, ("data", "heads"))
    for name in heads if isinstance(heads, dict) else ():
        yield ("data", "heads", name), "task", "TASKS", "single_label"
    yield ("teacher",), "model", "MODELS", None
    for name, entry in modalities.items():
        yield ("teacher", "encoders", name), "model", encoder_table(name), None
        yield ("student", "encoders", name), "model", encoder_table(name), class_literal(entry, "student")
    yield ("student",), "fusion", "FUSIONS", None  # a name alone
    yield ("student", "fusion"), "name", "FUSIONS", "product"
    losses = _at(data, ("distill", "losses"))
    for index in range(len(losses) if isinstance(losses, list) else 0):
        yield ("distill", "losses", index), "name", "LOSSES", None


def _singular(table: str) -> str:
    return _SINGULAR.get(table) or table.removesuffix("S").lower().replace("_", " ")  # "IMAGE_ENCODERS" -> "image encoder"


def _check_options(options: Any, entry: str, place: Place) -> Iterator[Fault]:
    if not isinstance(options, dict):
        return  # the validation says so
    for problem in check_options(declaration(entry), options, "", injected=INJECTED):
        option, _, message = problem.removeprefix(".").partition(": ")
        yield Fault((*place, option), message)


def _check_files(data: dict[str, Any], base: Path) -> Iterator[Fault]:
    """Files and folders that the recipe names and that are not there."""
    named = list(_listed(data, "plugins"))
    if _at(data, ("data", "source")) == "manifest":
        options = _at(data, ("data", "options"))
        named += [(("data", "options", key), _at(options, (key,))) for key in _FILE_OPTIONS]
        named += [(("data", "options", *place), name) for place, name in _listed(options if isinstance(options, dict) else {}, "train")]
    if _at(data, ("teacher", "source")) in ("folder", "weights", "run", "zero_shot", "llm", "vlm", "onnx", "answers"):
        named += [(("teacher", key), _at(data, ("teacher", key))) for key in ("path", "tokenizer")]
    students = _at(data, ("student", "encoders"))
    places: list[Place] = [("student", "initialise", "run")]
    places += [("student", "encoders", name, "options", "folder") for name in (students if isinstance(students, dict) else ())]
    named += [(place, _at(data, place)) for place in places]
    for place, name in named:
        if isinstance(name, str) and not (base / name).exists():
            yield Fault(place, f"{base / name} is not there; paths start from the recipe's folder")


def _listed(data: dict[str, Any], key: str) -> Iterator[tuple[Place, str]]:
    entries = data.get(key)
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, str):
            yield (key, index), entry


def _at(data: Any, place: Place) -> Any:
    """What stands at a place, or None."""
    for step in place:
        if isinstance(data, list) and isinstance(step, int):
            data = data[step]
        elif isinstance(data, dict):
            data = data.get(str(step))
        else:
            return None
    return data
