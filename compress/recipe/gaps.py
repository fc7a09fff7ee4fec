"""Whether a recipe whose rows may lack inputs can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.recipe.recipe import Recipe


def why_no_gaps(recipe: Recipe) -> str | None:
    """Why what the recipe says of missing inputs cannot work; None where it can, or says nothing."""
    if recipe.data.allow_missing and len(recipe.modalities) == 1:
        return f"data.allow_missing is set, but {recipe.modalities[0]} is the only modality: a row without it has nothing"
    for source in (teacher.source for teacher in recipe.places.values()):
        if recipe.data.allow_missing and source not in ("fit", "run", "answers"):
            return f"data.allow_missing is set, but a teacher of source {source} cannot answer rows that lack an input; take source fit"
    trainings = {
        **{place: t.train for place, t in recipe.places.items()},
        "distill": recipe.distill.train,
        "quantize": recipe.quantize and recipe.quantize.train,
    }
    for name, training in trainings.items():
        if training and training.modality_dropout and not recipe.data.allow_missing:
            return f"{name}.train.modality_dropout is set, but without data.allow_missing: true no model reads what is missing"
    return None
