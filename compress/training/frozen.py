"""Parts of a model that are not trained: their weights stay, and they answer in training as they do in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from compress.models.inherit_image import first_parts
from compress.recipe.recipe import Recipe


def parts_that_stay(recipe: Recipe, model: nn.Module) -> list[nn.Module]:
    """The parts of a student's encoders that the recipe freezes."""
    counts = {m: getattr(recipe.student.encoders.get(m), "freeze", 0) for m in recipe.modalities}
    return [part for m, count in counts.items() if count for part in first_parts(model.get_submodule(f"encoders.{m}"), count)]


@contextmanager
def frozen(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, the parts' weights have no gradient, and their norms the statistics that they came with, so that no step goes back through them."""
    trained = [p for part in parts for p in part.parameters() if p.requires_grad]
    hooks = [part.register_forward_pre_hook(_as_in_use) for part in parts]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for hook in hooks:
            hook.remove()


def _as_in_use(part: nn.Module, _: Any) -> None:
    part.eval()
