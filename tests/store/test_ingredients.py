"""What a fingerprint is made of: a word that came later leaves what was made before it where it is."""

from __future__ import annotations

import pytest

from compress.recipe.grammar import load_recipe
from compress.store.ingredients import YOUNGER, as_json, only

RECIPE = """\
name: rows
data: {source: easy_vqa, inputs: {image: {size: 16}, text: {length: 8}}}
teacher: {source: fit, encoders: {image: {model: efficientnet_lite2}, text: {model: minilm_l6}}}
student: {encoders: {image: {}, text: {}}}
"""


@pytest.fixture
def ingredients(tmp_path):
    """The recipe's parts as a fingerprint holds them, with overrides."""

    def made_of(*overrides: str) -> dict:
        (tmp_path / "a.yaml").write_text(RECIPE)
        return as_json(only(load_recipe(tmp_path / "a.yaml", overrides).recipe, ("data", "student", "distill")))

    return made_of


def younger(part: object) -> list[str]:
    """Every word, at any depth, that came later and says what was so before."""
    if isinstance(part, dict):
        return [key for key in part if key in YOUNGER and part[key] == YOUNGER[key]] + younger(list(part.values()))
    return [key for one in part for key in younger(one)] if isinstance(part, list) else []


def test_younger_words_are_told_where_they_say_something_new(ingredients) -> None:
    assert younger(ingredients()) == []
    assert younger({"a": [{"fusion": YOUNGER["fusion"]}]}) == ["fusion"]
    assert ingredients("student.fusion=product") == ingredients()
    assert ingredients("student.fusion=sum")["student"]["fusion"] == {"name": "sum", "options": {}}
