"""Whether the student can start from its teacher, or from an earlier student, told from their configuration before any stage that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.io_spec import IOSpec, Port
from compress.modalities.modality import modality
from compress.models.hub import fetch
from compress.recipe.grammar import LoadedRecipe
from compress.recipe.recipe import Recipe
from compress.store.earlier import open_earlier
from compress.store.ingredients import as_json, only
from compress.tables import MODELS, resolve

if TYPE_CHECKING:
    from torch import nn


def check_teacher_starts(loaded: LoadedRecipe) -> None:
    """Raises: RecipeError or DataError where an encoder of the student cannot be picked from the teacher as the recipe asks.

    Both are built without weights (torch's device meta). What cannot be built, such as a folder that is no model's, is told by its stage.
    """
    if loaded.recipe.student.initialise:
        return check_earlier_start(loaded)
    recipe, folder = loaded.recipe, cache(partial(teacher_folder, loaded))  # looked for, on a hub, only where somebody asks
    for m in recipe.modalities:
        section = recipe.student.encoders.get(m)
        own = partial(bare_encoder, port_of(recipe, m), section, loaded.base)
        modality(m).check_start(section, own, cache(partial(_teacher, recipe, folder, loaded.base, m)), folder)


def check_earlier_start(loaded: LoadedRecipe) -> None:
    """Raises: RecipeError where the student has not the shape of the one that it is to go on from, with the first word that differs."""
    recipe, start = loaded.recipe, loaded.recipe.student.initialise
    assert start
    earlier = open_earlier(loaded.base / start.run, start.arm, place="student.initialise.run")
    asked = as_json(only(recipe, ("data", "student")))
    if fault := earlier.first_difference(asked["data"], asked["student"]):
        raise RecipeError(f"student.initialise.run: a student can go on from {start.run} in its own form alone; {fault}")


def teacher_folder(loaded: LoadedRecipe) -> Path | None:
    """Where the configuration of a teacher from transformers lies; None for another teacher."""
    teacher = loaded.recipe.teacher
    if teacher.id is not None:
        return fetch(str(teacher.id), str(teacher.revision), files=["*.json", "*.py"])
    return loaded.base / str(teacher.path) if teacher.source in ("folder", "zero_shot") else None


def port_of(recipe: Recipe, m: str, *, teacher: bool = False) -> Port:
    """In which form the student, or the teacher, reads a modality, as far as the recipe tells."""
    words = recipe.teacher.inputs.get(m) if teacher and recipe.teacher.inputs else None
    port = modality(m).port(words or recipe.data.inputs.get(m), None)
    return replace(port, high=1) if port.high is None else port  # how many tokens there are is not known yet


def bare_encoder(port: Port, section: Any, base: Path) -> Any:
    """The encoder of one input, with weights that take no memory."""
    import torch

    from compress.models.student import build_encoder

    place = {"folder": str(base / section.options["folder"])} if section.options.get("folder") else {}
    with torch.device("meta"):
        return build_encoder(port, {"model": section.model, "options": {**section.options, **place}})


def _teacher(recipe: Recipe, folder: Callable[[], Path | None], base: Path, m: str) -> nn.Module | None:
    """The teacher, of a fitted one the encoder of this modality, with weights that take no memory; None where it cannot be built."""
    import torch

    ports = tuple(port_of(recipe, name, teacher=True) for name in recipe.modalities)
    io, source = IOSpec(ports, (Port("logits", "float32", (2,)),)), recipe.teacher
    build: Callable[[], nn.Module]
    if source.encoders:
        build = partial(bare_encoder, port_of(recipe, m, teacher=True), source.encoders.get(m), Path())
    elif source.source == "weights":
        build = partial(resolve(MODELS[str(source.model)]), io, **source.options)
    elif source.source == "run":
        from compress.models.saved import build_model

        build = partial(build_model, open_earlier(base / str(source.path), source.arm, place="teacher.path").folder)
    elif source.source not in ("folder", "hub"):
        return None
    else:
        from compress.models.transformers_model import transformers_teacher

        given: dict[str, Any] = {"columns": [0], "padding": 0, "mean": [0.0] * 3, "deviation": [1.0] * 3}
        build = partial(transformers_teacher, io, config_folder=str(folder()), trust_remote_code=source.trust_remote_code, **given)
    try:
        with torch.device("meta"):
            return build()
    except (OSError, LookupError, ValueError, TypeError, RuntimeError):  # whatever the foreign model raises
        return None
