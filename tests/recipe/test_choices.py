"""Sizes, lengths and passes for sets of every size, and the time that they are estimated to take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compress.recipe.choices import (
    LIMIT_S,
    MIDDLE,
    NARROW,
    WIDE,
    choose,
    keeps_sides,
    student_rate,
    student_steps,
    wanted_length,
    wanted_side,
)
from compress.recipe.seen import Pictures, Sounds


@pytest.mark.parametrize("rows", [40, 83, 300, 1_000, 3_000])
@pytest.mark.parametrize(("side", "tokens"), [(32, None), (120, None), (500, None), (None, 6), (None, 700), (300, 20), (300, 700)])
def test_up_to_3000_rows_are_estimated_to_end_in_time_with_enough_steps(make_seen: Callable, rows: int, side: int, tokens: int):
    choice = choose(make_seen(rows, side=side, tokens=tokens))
    assert choice.total_s <= 1.1 * LIMIT_S  # where even the smallest does not fit, it is not far off, and well below six minutes
    assert choice.passes * max(10, rows / choice.batch) >= student_steps(choice)


@pytest.mark.parametrize(("side", "size"), [(32, 64), (63, 64), (99, 96), (130, 128), (200, 160), (900, 224)])
def test_photographs_are_read_at_the_step_below_their_size(make_seen: Callable, side: int, size: int):
    assert wanted_side(make_seen(side=side)) == size


@pytest.mark.parametrize(("longest", "size"), [(32, 32), (28, 32), (8, 16), (40, 40)])
def test_small_pictures_are_read_as_they_are(make_seen: Callable, longest: int, size: int):
    small = Pictures(looked=9, sides=(longest, longest, longest), longest=longest, alike=True)
    assert wanted_side(make_seen(pictures=small)) == size


@pytest.mark.parametrize(("tokens", "length"), [(3, 8), (8, 8), (9, 16), (41, 48), (700, 128)])
def test_texts_are_cut_where_95_of_100_end(make_seen: Callable, tokens: int, length: int):
    assert wanted_length(make_seen(tokens=tokens)) == length


@pytest.mark.parametrize(("sound", "seconds"), [(0.2, 0.5), (1.0, 1.0), (1.01, 1.5), (9.0, 10.0), (60.0, 10.0)])
def test_sounds_are_cut_where_95_of_100_end(make_seen: Callable, sound: float, seconds: float):
    assert choose(make_seen(side=None, tokens=None, sound=sound)).sound_seconds == seconds


@pytest.mark.parametrize(("rate_hz", "rate"), [(8_000, 8_000), (11_025, 8_000), (16_000, 16_000), (44_100, 16_000)])
def test_sounds_are_not_read_at_more_samples_than_they_have(make_seen: Callable, rate_hz: int, rate: int):
    sounds = Sounds(looked=9, seconds=(1.0, 1.0, 1.0), rate_hz=rate_hz)
    assert choose(make_seen(side=None, tokens=None, sounds=sounds)).sound_rate == rate


def test_longer_sounds_take_longer(make_seen: Callable):
    short, long = (choose(make_seen(1_000, side=None, tokens=None, sound=sound)).total_s for sound in (0.5, 2.0))
    assert 1.3 * short < long


def test_pictures_shrink_before_texts_and_both_before_the_time_is_up(make_seen: Callable):
    few, many = choose(make_seen(60, side=300)), choose(make_seen(3_000, side=300))
    assert few.image_size == 224
    assert (many.image_size, many.text_length) == (96, 24)
    assert choose(make_seen(3_000, side=300, tokens=128)).text_length < 128


def test_a_large_set_may_take_longer_in_proportion(make_seen: Callable):
    choice = choose(make_seen(30_000, side=120, tokens=None))
    assert choice.image_size == 96
    assert LIMIT_S < choice.total_s <= 10 * LIMIT_S


def test_texts_alone_are_read_by_the_widest_student_that_the_time_suffices_for(make_seen: Callable):
    assert choose(make_seen(700, side=None, tokens=20)).texts == WIDE
    assert choose(make_seen(700, side=None, tokens=64)).texts == MIDDLE
    assert choose(make_seen(3_000, side=None, tokens=128)).texts == NARROW  # rather than cut the texts
    assert choose(make_seen(700, side=64, tokens=20)).texts == NARROW


def test_students_of_pictures_learn_at_a_rate_that_goes_down_with_their_batches(make_seen: Callable):
    few, some, many = (make_seen(rows, side=120, tokens=None) for rows in (90, 200, 3_000))
    assert [student_rate(seen, choose(seen)) for seen in (few, some, many)] == ["1.7e-04", "2.5e-04", "3.5e-04"]  # batches of 8, 16 and 32


def test_texts_beside_pictures_are_paired_as_often_as_the_time_suffices_for(make_seen: Callable):
    assert choose(make_seen(100, side=64, tokens=20)).pairings == 4
    assert 0 < choose(make_seen(1_000, side=120, tokens=128)).pairings < 4
    assert [choose(make_seen(300, **only)).pairings for only in ({"tokens": None}, {"side": None})] == [0, 0]
    assert choose(make_seen(300, task="retrieval")).pairings == 0


def test_what_is_not_there_is_not_chosen(make_seen: Callable):
    text, image = choose(make_seen(side=None)), choose(make_seen(tokens=None))
    assert (text.image_size, text.views) == (None, 1)
    assert image.text_length is None


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["turn left", "go on"], "labels name left or right"),
        (["links", "rechts"], "labels name left or right"),
        (["0", "1", "7 "], "labels are single characters, as of pictures of letters or digits"),
        (["cleft", "bright"], None),
        (["10", "1"], None),
    ],
)
def test_pictures_are_not_mirrored_where_labels_speak_against_it(make_seen: Callable, labels: list[str], why: str | None):
    seen = make_seen(labels=dict.fromkeys(labels, 9))
    assert keeps_sides(seen) == why
    assert choose(seen).flip == (why is None)


@pytest.mark.parametrize(("rows", "fraction"), [(60, 0.2), (700, 0.14), (3_000, 0.1)])
def test_validation_has_100_rows_where_a_fifth_gives_them(make_seen: Callable, rows: int, fraction: float):
    assert choose(make_seen(rows)).validation_fraction == fraction
