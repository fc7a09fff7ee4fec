"""What variants do to pixels: exact where they can be exact, within bounds where they sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.modalities.picture_views import as_sketch, carry_labels, cut_in, lay_over, recolour, sample, transforms, vary_pictures

ROWS = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)
IMAGE = ROWS[None, :, :, None].expand(1, 3, 3, 3).contiguous()  # the same plane in each channel
NOISE = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def variant(
    *,
    number: int = 1,
    mirrored: bool = False,
    shift: int = 0,
    crop: float = 1.0,
    rotate: float = 0.0,
    colour: float = 0.0,
    sketch: float = 0.0,
) -> tuple:
    return (5, number, mirrored, shift, crop, rotate, colour, sketch)


def test_a_mirrored_picture_is_exact() -> None:
    assert vary_pictures(IMAGE, variant(mirrored=True), np.array([0]))[0, :, :, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_moves_are_whole_pixels_and_repeat_the_edge() -> None:
    """Against a slow reference: of all moves by up to 2 pixels each picture shows exactly one, and all of them occur."""
    pictures = NOISE.repeat(5, 1, 1, 1)
    got, moves = vary_pictures(pictures, variant(shift=2), np.arange(200)), set()
    places = torch.arange(8)
    for picture, seen in zip(pictures, got, strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(picture[(places - down).clamp(0, 7)][:, (places - right).clamp(0, 7)], seen)
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) == 25


def test_a_crop_keeps_at_least_its_share_of_the_area() -> None:
    theta = transforms(torch.rand(1000, 9, generator=torch.Generator().manual_seed(0)), (8, 8), shift=0, crop=0.3, rotate=0)
    area = theta[:, 0, 0] * theta[:, 1, 1]
    assert 0.29 < area.min() < 0.35 and 0.9 < area.max() <= 1
    assert (theta[:, :, :2].abs().sum(2) + theta[:, :, 2].abs()).max() <= 1 + 1e-6  # inside the picture


def turn(pictures: torch.Tensor, degrees: float) -> torch.Tensor:
    draws = torch.full((1, 9), 0.5)
    draws[:, 4] = 1  # the angle: all of `rotate`
    theta = transforms(draws, pictures.shape[1:3], shift=0, crop=1.0, rotate=degrees)
    return sample(pictures.permute(0, 3, 1, 2).float(), theta).permute(0, 2, 3, 1)


def test_turns_that_meet_every_pixel_are_exact() -> None:
    square, wide = NOISE[:1], NOISE[:1, :4]  # 8 x 8, and 8 wide and 4 high
    torch.testing.assert_close(turn(square, 90), square.float().rot90(1, (1, 2)), atol=0.01, rtol=0)
    torch.testing.assert_close(turn(wide, 180), wide.float().flip((1, 2)), atol=0.01, rtol=0)
    middle = wide[:, :, 2:6].float()  # pixels are square, so this square turns into itself
    torch.testing.assert_close(turn(wide, 90)[:, :, 2:6], middle.rot90(1, (1, 2)), atol=0.01, rtol=0)


def test_a_turn_by_nothing_and_colours_of_nothing_leave_the_picture() -> None:
    assert torch.equal(vary_pictures(NOISE, variant(), np.arange(40)), NOISE)


def test_colours_by_hand() -> None:
    # grey 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15; saturation 0 leaves the grey alone, brightness doubles it
    pixel = torch.tensor([[[[10.0, 20.0, 30.0]]]])
    torch.testing.assert_close(recolour(pixel, torch.tensor([[2.0, 1.0, 0.0]])), torch.full((1, 1, 1, 3), 36.3))
    # contrast 0 leaves the mean of the greys of the picture
    pair = torch.tensor([[[[0.0, 0.0, 0.0], [100.0, 100.0, 100.0]]]])
    torch.testing.assert_close(recolour(pair, torch.tensor([[1.0, 0.0, 1.0]])), torch.full((1, 1, 2, 3), 50.0))


@pytest.mark.parametrize("words", [{"crop": 0.4, "rotate": 20.0}, {"colour": 0.4}, {"shift": 3}, {"sketch": 0.9}])
def test_a_picture_is_varied_the_same_alone_and_in_a_batch(words: dict) -> None:
    every = vary_pictures(NOISE, variant(**words), np.arange(40))
    alone = vary_pictures(NOISE[7:8], variant(**words), np.array([7]))
    assert (every[7].int() - alone[0].int()).abs().max() <= 1  # a batch may round the last bit otherwise
    assert not torch.equal(every, NOISE)
    assert not torch.equal(vary_pictures(NOISE, variant(number=2, **words), np.arange(40)), every)


def test_sketch_leaves_edges_on_white() -> None:
    """Of a step from 99 to 199: far from it grey equals its mean, so white; left of it 100 / ((2 * 100 + 200) / 3 of the 3 x 3 mean) = 3 / 4."""
    step = torch.tensor([99.0] * 4 + [199.0] * 4)[None, None, :, None].expand(1, 8, 8, 3)
    drawn = as_sketch(step)
    assert torch.equal(drawn[..., 0], drawn[..., 2]) and drawn[0, 0, :, 0].tolist() == pytest.approx(
        [255, 255, 255, 191.25, 255, 255, 255, 255]
    )


def test_share_of_the_pictures_of_a_view_is_sketched() -> None:
    pictures = NOISE.repeat(10, 1, 1, 1)
    seen = vary_pictures(pictures, variant(sketch=0.3), np.arange(400))
    same = (seen == pictures).flatten(1).all(1)
    assert 0.6 < same.float().mean() < 0.8
    assert torch.equal(seen[~same], as_sketch(pictures[~same].float()).round().to(torch.uint8))


def test_pictures_laid_over_each_other_are_the_weighted_mean() -> None:
    a, b = torch.tensor([[[[200, 0, 9]]]], dtype=torch.uint8), torch.tensor([[[[100, 255, 9]]]], dtype=torch.uint8)
    assert lay_over(a, b, 0.3).tolist() == [[[[130, 178, 9]]]]  # 0.3 * 200 + 0.7 * 100; 0.7 * 255 = 178.5, which rounds to even
    assert torch.equal(lay_over(a, b, 1.0), a) and torch.equal(lay_over(a, b, 0.0), b)


@pytest.mark.parametrize(
    ("share", "across", "down", "box"),
    [
        (0.75, 0.5, 0.5, (2, 6, 2, 6)),  # a quarter of the area: half of each side
        (0.75, 0.0, 1.0, (6, 8, 0, 2)),  # around a corner three quarters of it lie outside
        (1.0, 0.5, 0.5, (4, 4, 4, 4)),
        (0.0, 0.5, 0.5, (0, 8, 0, 8)),
    ],
)
def test_rectangle_comes_from_the_other_picture_and_the_share_is_what_is_left(
    share: float, across: float, down: float, box: tuple[int, ...]
) -> None:
    pictures, others = NOISE[:3], NOISE[3:6]
    got, left = cut_in(pictures, others, share, across, down)
    wanted, (top, bottom, first, last) = pictures.clone(), box
    wanted[:, top:bottom, first:last] = others[:, top:bottom, first:last]
    assert torch.equal(got, wanted)
    assert left == 1 - (bottom - top) * (last - first) / 64


@pytest.mark.parametrize("how", [{"mirrored": True}, {"crop": 0.4}, {"rotate": 20.0}, {"mirrored": True, "crop": 0.6, "rotate": 10.0}])
def test_labels_go_where_the_picture_goes(how: dict) -> None:
    """Of pictures whose left and upper parts are bright and whose labels say so, those of views still say so, but for the seams."""
    labels = torch.zeros(30, 8, 8, dtype=torch.int16)
    labels[:, :, :3], labels[:, :2, 3:] = 1, 2
    pictures = (80 * labels).repeat_interleave(4, 1).repeat_interleave(4, 2)[..., None].expand(-1, -1, -1, 3).to(torch.uint8)
    index = np.arange(30)
    seen = vary_pictures(pictures, variant(**how), index)[:, 2::4, 2::4, 0]
    told = carry_labels(labels, variant(**how), index)
    assert told.dtype == torch.int16 and (told != labels).any()
    assert ((seen.float() / 80).round() == told).float().mean() > 0.93


def test_colours_leave_labels_as_they_are() -> None:
    labels = torch.arange(9, dtype=torch.int16).view(1, 3, 3)
    assert torch.equal(carry_labels(labels, variant(colour=0.5, sketch=1.0), np.array([0])), labels)
