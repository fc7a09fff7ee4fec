"""The grammar itself: documented, closed, and the same as the committed schema and recipes."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from compress.errors import RecipeError
from compress.recipe.declarations import literal_table
from compress.recipe.grammar import json_schema, load_recipe
from compress.recipe.messages import subsections
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Quantize, Section
from compress.recipe.teacher import Teacher

RECIPES = Path(__file__).parents[2] / "recipes"


def sections(section: type[Section]) -> set[type[Section]]:
    return {section}.union(*(sections(inner) for inner in subsections(section).values()))


def test_the_committed_schema_is_current():
    assert json.loads((RECIPES / "schema.json").read_text()) == json_schema(), "run `compress schema > recipes/schema.json`"


@pytest.mark.parametrize("section", sorted(sections(Recipe), key=lambda s: s.__name__))
def test_every_section_is_closed_and_every_field_is_documented(section):
    assert section.model_config["extra"] == "forbid"
    assert not [name for name, field in section.model_fields.items() if not field.description]


def test_the_methods_of_quantization_are_those_of_the_table():
    assert set(get_args(Quantize.model_fields["method"].annotation)) == set(literal_table("compress.quantizers", "QUANTIZERS"))


def test_int8_is_trained_in_float32_alone():
    with pytest.raises(RecipeError, match=r"quantize.*int8 is trained in fp32 alone"):
        load_recipe(RECIPES / "smoke.yaml", ["quantize.train.precision=bf16"])


def test_inputs_that_come_with_others_are_not_mixed():
    with pytest.raises(RecipeError, match=r"augment\.image\.cutmix mixes two inputs .* no text of its own"):
        load_recipe(RECIPES / "smoke.yaml", ["distill.augment.image.cutmix=1", "distill.teacher=live"])


@pytest.mark.parametrize(
    "given",
    [
        {"source": "weights", "model": "cifar_resnet", "path": "a.th", "sha256": "0" * 64},
        {"source": "folder", "path": "a"},
        {"source": "hub", "id": "a/b", "revision": "0" * 40},
    ],
    ids=lambda given: given["source"],
)
def test_models_from_elsewhere_are_trained_on_whole(given):
    assert Teacher.model_validate({**given, "fine_tune": {"epochs": 1}}).fine_tune
    with pytest.raises(ValidationError, match=f"source {given['source']} is trained on whole: leave out fine_tune.blocks"):
        Teacher.model_validate({**given, "fine_tune": {"blocks": 2}})


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_and_is_short(path, tmp_path):
    given = yaml.safe_load(path.read_text())
    data, teacher = given["data"], given["teacher"]
    if teacher["source"] == "folder":
        (tmp_path / teacher["path"]).mkdir()  # what the recipe's first lines fetch
    for file in (tmp_path / file for file in data["options"].values() if isinstance(file, str)) if data["source"] == "manifest" else ():
        file.parent.mkdir(exist_ok=True)  # what the user brings
        file.touch()
    loaded = load_recipe(shutil.copytree(RECIPES, tmp_path, dirs_exist_ok=True) / path.name)
    assert loaded.recipe.description, "`compress list recipes` prints it"
    assert len(loaded.text.splitlines()) <= 60
