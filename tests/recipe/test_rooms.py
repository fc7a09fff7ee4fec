"""The grammar with the words of each modality: read from literals, closed, documented, and in the order of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compress.recipe.messages import subsections
from compress.recipe.recipe import Recipe
from compress.recipe.rooms import recipe_type
from compress.recipe.sections import Augment, Section
from compress.tables import MODALITIES

ALL = recipe_type(MODALITIES)
PLUGIN = """
raise SystemExit("it was run")


class Smell:
    words = {
        "input": {"length": {"type": "int", "ge": 2, "lt": 9, "description": "Sniffs."}},
        "augment": {"rate": {"type": "float", "default": None, "gt": 0, "description": "Sniffs a second; null: as they come."}},
        "student": {"nose": {"type": ["long", "short"], "default": "long", "description": "Which nose."}},
    }
    student = ""
"""


def part(recipe: type[Recipe], *path: str) -> Any:
    """The section class at a place of the grammar."""
    found: Any = recipe
    for name in path:
        found = subsections(found)[name]
    return found


def every(section: type[Section]) -> set[type[Section]]:
    return {section}.union(*(every(inner) for inner in subsections(section).values()))


@pytest.fixture
def smell(tmp_path: Path) -> Any:
    """The grammar with a modality of a plugin that must not be run, before image."""
    (tmp_path / "smell.py").write_text(PLUGIN)
    return recipe_type({"smell": f"{tmp_path}/smell.py:Smell", "image": MODALITIES["image"]})


@pytest.mark.parametrize("section", sorted(every(ALL), key=lambda s: s.__name__), ids=lambda s: s.__name__)
def test_every_section_of_every_modality_is_closed_and_documented(section: type[Section]) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.__doc__
    assert not [name for name, field in section.model_fields.items() if not field.description]


@pytest.mark.parametrize(
    "place", [("data", "inputs"), ("teacher", "inputs"), ("teacher", "encoders"), ("student", "encoders")], ids=".".join
)
def test_there_is_one_key_a_modality(place: tuple[str, ...]) -> None:
    assert list(part(ALL, *place).model_fields) == list(MODALITIES)


def test_augment_has_a_key_a_modality_beside_its_own() -> None:
    assert set(part(ALL, "distill", "augment").model_fields) == {*MODALITIES, *Augment.model_fields}


def test_settings_come_in_the_order_of_the_table() -> None:
    inputs = part(ALL, "data", "inputs")(text={"length": 8}, image={"size": 16})
    assert inputs.modalities == ("image", "text")
    assert inputs.get("text").length == 8
    assert inputs.get("numbers") is None and inputs.get("smell") is None


def test_words_of_a_plugin_are_read_and_it_is_not_run(smell: Any) -> None:
    inputs = part(smell, "data", "inputs")(smell={"length": 3}, image={"size": 8})
    assert inputs.modalities == ("smell", "image")
    assert part(smell, "distill", "augment", "smell")().rate is None
    assert part(smell, "student", "encoders", "smell")(model="nostril").nose == "long"


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        (("data", "inputs", "smell"), {}, "Field required"),
        (("data", "inputs", "smell"), {"length": 1}, "greater than or equal to 2"),
        (("data", "inputs", "smell"), {"length": 9}, "less than 9"),
        (("data", "inputs", "smell"), {"length": "many"}, "valid integer"),
        (("data", "inputs", "smell"), {"length": 3, "size": 8}, "Extra inputs are not permitted"),
        (("data", "inputs"), {"text": {"length": 8}}, "Extra inputs are not permitted"),
        (("distill", "augment", "smell"), {"rate": 0}, "greater than 0"),
        (("student", "encoders", "smell"), {}, "Field required"),  # it names no encoder of its own
        (("student", "encoders", "smell"), {"model": "nostril", "nose": "red"}, "Input should be 'long' or 'short'"),
    ],
)
def test_words_are_checked(smell: Any, place: tuple[str, ...], given: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        part(smell, *place)(**given)


def test_encoder_of_the_student_is_the_modalitys_own_where_none_is_named() -> None:
    encoders = part(ALL, "student", "encoders")
    assert {name: encoders(**{name: {}}).get(name).model for name in MODALITIES} == {
        "image": "mobilenet_v4",
        "audio": "ds_cnn",
        "text": "distilbert",
        "numbers": "mlp",
    }


def test_the_same_modalities_are_the_same_grammar() -> None:
    assert recipe_type(dict(MODALITIES)) is ALL
    assert recipe_type({"image": MODALITIES["image"]}) is not ALL
    assert issubclass(ALL, Recipe)
