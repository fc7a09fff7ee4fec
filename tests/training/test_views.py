"""Views: what flips and shifts do to pixels, and that the drawn ones differ and depend on the seed alone."""

from __future__ import annotations

import numpy as np
import torch

from compress.recipe import Augment
from compress.training.views import Views, draw_views

ROWS = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)
IMAGE = ROWS[None, :, :, None].expand(1, 3, 3, 3).contiguous()  # (1, 3, 3, 3): the same plane in each channel


def plane(image: torch.Tensor) -> list[list[int]]:
    assert torch.equal(image[..., 0], image[..., 2])
    return image[0, :, :, 0].tolist()


def test_view_zero_is_the_image_itself() -> None:
    views = draw_views(Augment(views=4, flip=True, shift=2), 0)
    assert views.variants[0] == (False, 0, 0)
    assert torch.equal(views.vary(IMAGE, 0), IMAGE)


def test_flip_mirrors_left_and_right() -> None:
    assert plane(Views(((True, 0, 0),)).vary(IMAGE, 0)) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_shift_moves_down_and_right_and_repeats_edges() -> None:
    views = Views(((False, 1, 0), (False, 0, 1), (False, -1, -1), (True, 0, 1)))
    assert plane(views.vary(IMAGE, 0)) == [[1, 2, 3], [1, 2, 3], [4, 5, 6]]
    assert plane(views.vary(IMAGE, 1)) == [[1, 1, 2], [4, 4, 5], [7, 7, 8]]
    assert plane(views.vary(IMAGE, 2)) == [[5, 6, 6], [8, 9, 9], [8, 9, 9]]
    assert plane(views.vary(IMAGE, 3)) == [[3, 3, 2], [6, 6, 5], [9, 9, 8]]  # mirrored first


def test_shift_larger_than_the_image_repeats_one_edge() -> None:
    assert plane(Views(((False, 9, 0),)).vary(IMAGE, 0)) == [[1, 2, 3]] * 3


def test_apply_varies_each_image_by_its_own_view() -> None:
    views = Views(((False, 0, 0), (True, 0, 0), (False, 1, 0)))
    images = torch.randint(0, 256, (5, 4, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    view = np.array([1, 0, 2, 1, 0])
    got = views.apply(images, view)
    for n, v in enumerate(view):
        assert torch.equal(got[n : n + 1], views.vary(images[n : n + 1], int(v)))
    assert torch.equal(images, kept)


def test_drawn_views_differ_and_depend_on_the_seed() -> None:
    config = Augment(views=8, flip=True, shift=3)
    views = draw_views(config, 5)
    assert len(views) == len(set(views.variants)) == 8
    assert all(abs(down) <= 3 and abs(right) <= 3 for _, down, right in views.variants)
    assert draw_views(config, 5) == views
    assert draw_views(config, 6) != views


def test_drawn_views_are_as_many_as_there_are() -> None:
    assert len(draw_views(Augment(views=64, shift=1), 0)) == 9
    assert draw_views(Augment(views=2, flip=True), 0).variants == ((False, 0, 0), (True, 0, 0))
    assert len(draw_views(Augment(), 0)) == 1
