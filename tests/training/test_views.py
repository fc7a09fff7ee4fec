"""Views: stored ones are drawn by seed, view 0 is the input itself, fresh ones never repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from compress.recipe.grammar import load_recipe
from compress.recipe.recipe import Recipe
from compress.training.views import Views, draw_views

IMAGES = torch.randint(0, 256, (5, 6, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
EVERY = np.arange(5)


def recipe(*overrides: str) -> Recipe:
    return load_recipe(Path(__file__).parents[2] / "recipes" / "smoke.yaml", overrides).recipe


def test_view_zero_is_the_input_itself() -> None:
    views = draw_views(recipe("distill.augment.views=4", "distill.augment.image.shift=2"))
    assert len(views) == 4 and views.variants[0] == ()
    assert torch.equal(views.vary(IMAGES, 0, EVERY), IMAGES)


def test_flips_alone_give_two_views_and_no_fresh_ones() -> None:
    views = draw_views(recipe("distill.augment.views=9"))
    assert len(views) == 2 and views.fresh is None
    assert torch.equal(views.vary(IMAGES, 1, EVERY), IMAGES.flip(2))


def test_apply_varies_each_image_by_its_own_view() -> None:
    views = draw_views(recipe("distill.augment.views=3", "distill.augment.image.shift=2"))
    view, kept = np.array([1, 0, 2, 1, 0]), IMAGES.clone()
    got = views.apply(IMAGES, view, EVERY)
    for n, v in enumerate(view):
        assert torch.equal(got[n : n + 1], views.vary(IMAGES[n : n + 1], int(v), EVERY[n : n + 1]))
    assert torch.equal(IMAGES, kept)


def test_drawn_views_differ_and_depend_on_the_seed() -> None:
    views = draw_views(recipe("distill.augment.views=8", "distill.augment.image.shift=3"))
    assert len(views) == len(set(views.variants)) == 8
    assert draw_views(recipe("distill.augment.views=8", "distill.augment.image.shift=3")) == views
    assert draw_views(recipe("distill.augment.views=8", "distill.augment.image.shift=3", "data.seed=1")) != views


def test_fresh_views_are_new_in_every_pass_and_none_of_the_stored() -> None:
    views = draw_views(recipe("distill.augment.views=2", "distill.augment.image.crop=0.4"))
    first, second = (views.refresh(IMAGES, epoch, EVERY) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, views.vary(IMAGES, 1, EVERY))
    assert torch.equal(first, views.refresh(IMAGES, 0, EVERY))


def test_views_survive_json() -> None:
    views = draw_views(recipe("distill.augment.views=3", "distill.augment.image.shift=2"))
    assert Views.from_json(views.to_json()).variants == views.variants
