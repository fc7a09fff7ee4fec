"""Sections of a recipe made in Python, with the words of every modality that ships."""

from __future__ import annotations

from typing import Any

from compress.recipe.recipe import Recipe
from compress.recipe.rooms import recipe_type
from compress.recipe.sections import Data, Distill
from compress.tables import MODALITIES

RECIPE: type[Recipe] = recipe_type(MODALITIES)


def data_section(**words: Any) -> Data:
    """The `data` section of these words."""
    kind: Any = RECIPE.model_fields["data"].annotation
    return kind(**words)


def distill_section(**words: Any) -> Distill:
    """The `distill` section of these words."""
    kind: Any = RECIPE.model_fields["distill"].annotation
    return kind(**words)
