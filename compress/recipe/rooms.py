"""`recipe_type`: the grammar with the words of each modality, which are literals in the modality's own room and read without running it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import Field, create_model

from compress.recipe.declarations import class_literal
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Augment, ByModality, Data, Distill, Encoder, Section, Student
from compress.recipe.teacher import Teacher

_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}
_BOUNDS = ("ge", "gt", "le", "lt")


def recipe_type(modalities: Mapping[str, str]) -> type[Recipe]:
    """`Recipe` for these modalities: name -> "module:class"."""
    return _build(tuple(modalities.items()))


@cache
def _build(modalities: tuple[tuple[str, str], ...]) -> type[Recipe]:
    inputs, augment, student, teacher, feeds = {}, {}, {}, {}, {}
    for name, entry in modalities:
        words = class_literal(entry, "words")
        title, line = name.title().replace("_", ""), f"Settings of the modality {name}."
        inputs[name] = _section(f"{title}Input", words["input"])
        augment[name] = _section(f"{title}Augment", words["augment"])
        default = class_literal(entry, "student")
        own: Any = {"model": (str, Field(default, description=Encoder.model_fields["model"].description))} if default else {}
        student[name] = create_model(f"{title}Student", __base__=_section(f"{title}Words", words["student"], Encoder), __doc__=line, **own)
        teacher[name] = Encoder
        if "feed" in words:  # a plugin's room may say nothing of it
            feeds[name] = _section(f"{title}Feed", words["feed"])
    by_input, by_teacher = _by_modality("Inputs", inputs), _by_modality("TeacherEncoders", teacher)
    taught = _with(Teacher, encoders=by_teacher | None, inputs=by_input | None, feeds=_by_modality("Feeds", feeds) | None)
    parts = {
        "data": _with(Data, inputs=by_input),
        "teacher": taught,
        "teachers": list[taught],  # type: ignore[valid-type]
        "student": _with(Student, encoders=_by_modality("StudentEncoders", student)),
        "distill": _with(Distill, augment=_by_modality("Augment", augment, Augment)),
    }
    return _with(Recipe, **parts)


def _with(section: type[Any], **types: Any) -> type[Any]:
    """The section with some of its fields in narrower types."""
    fields: dict[str, Any] = {}
    for name, kind in types.items():
        field = section.model_fields[name]
        default = kind() if isinstance(field.default, Section) else ... if field.is_required() else field.default
        fields[name] = (kind, Field(default, description=field.description))
    return create_model(section.__name__, __base__=section, __doc__=section.__doc__, **fields)


def _by_modality(title: str, sections: Mapping[str, type[Section]], base: type[ByModality] = ByModality) -> Any:
    fields: dict[str, Any] = {
        name: (section | None, Field(None, description=f"{(section.__doc__ or '').rstrip('.')}; null: none."))
        for name, section in sections.items()
    }
    return create_model(title, __base__=base, __doc__=base.__doc__, **fields)


def _section(title: str, words: dict[str, dict[str, Any]], base: type[Section] = Section) -> type[Section]:
    """A section of these words: see `Modality.words`."""
    fields: dict[str, Any] = {}
    for word, says in words.items():
        kind = Literal[tuple(says["type"])] if isinstance(says["type"], list) else _TYPES[says["type"]]
        if "default" in says and says["default"] is None:
            kind = kind | None
        bounds = {bound: says[bound] for bound in _BOUNDS if bound in says}
        fields[word] = (kind, Field(says.get("default", ...), description=says["description"], **bounds))
    return create_model(title, __base__=base, __doc__=f"{title}: words of one modality.", **fields)
