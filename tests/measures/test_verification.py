"""Pairs told right, and the rate at which both kinds of error are as frequent, on pairs counted by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from compress.measures import verification
from compress.measures.verification import equal_error, equal_error_interval, pairs_of, told_right


def circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


VECTORS, LABELS = circle(0, 20, 90, 100), np.array([0, 0, 1, 1])


def crowd(rows: int, people: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = draw.integers(people, size=rows)
    return draw.normal(size=(people, 16))[labels] + noise * draw.normal(size=(rows, 16)), labels


def test_gain_is_the_mean_over_same_and_different_pairs() -> None:
    told = told_right(VECTORS, LABELS, VECTORS, np.full(4, np.cos(np.deg2rad(15))))  # 20 degrees are refused, 10 accepted
    assert told.tolist() == [0.5, 0.5, 1, 1]
    loose = told_right(VECTORS, LABELS, VECTORS, np.full(4, np.cos(np.deg2rad(75))))  # 70 degrees, of rows 1 and 2, are accepted
    assert loose.tolist() == [1, 0.75, 0.75, 1]


def test_rows_without_label_or_number_are_in_no_pair() -> None:
    vectors, labels = np.concatenate([VECTORS, circle(1, 2)]), np.array([*LABELS, -1, 0])
    vectors[5, 0] = np.nan
    assert told_right(vectors, labels, vectors, np.full(6, 0.5)).tolist() == [1, 1, 1, 1, 0, 0]
    assert len(pairs_of(vectors, labels).same) == 6


def test_pairs_are_each_two_rows_once_and_ordered() -> None:
    pairs = pairs_of(VECTORS, LABELS)
    assert pairs.same.tolist() == [True, True, False, False, False, False]
    assert pairs.cosine == pytest.approx(np.cos(np.deg2rad([10, 20, 70, 80, 90, 100])), abs=1e-6)


def test_equal_error_is_0_between_kinds_that_do_not_meet() -> None:
    rate, threshold = equal_error(pairs_of(VECTORS, LABELS))
    assert rate == 0 and threshold == pytest.approx(np.cos(np.deg2rad([20, 70])).mean(), abs=1e-6)


def test_equal_error_of_pairs_counted_by_hand() -> None:
    # same: 10 and 60 degrees; different: 50, 60, 110 and 120: at 55 degrees 1 of 4 accepted and 1 of 2 refused, at 65: 2 of 4 and 0 of 2
    pairs = pairs_of(circle(0, 10, 60, 120), np.array([0, 0, 1, 1]))
    rate, threshold = equal_error(pairs)
    assert rate == pytest.approx((1 / 4 + 1 / 2) / 2) and threshold == pytest.approx(np.cos(np.deg2rad([50, 60])).mean(), abs=1e-6)


def test_equal_error_is_where_the_roc_curve_crosses() -> None:
    vectors, labels = crowd(200, 30, 1.5)
    pairs = pairs_of(vectors, labels)
    false, true, _ = roc_curve(pairs.same, pairs.cosine, drop_intermediate=False)
    place = np.abs(false - (1 - true)).argmin()
    assert equal_error(pairs)[0] == pytest.approx((false[place] + 1 - true[place]) / 2, abs=1e-9)
    assert 0.1 < equal_error(pairs)[0] < 0.4


def test_the_same_vector_for_all_is_worth_chance() -> None:
    assert equal_error(pairs_of(np.ones((6, 3)), np.arange(6) % 2))[0] == pytest.approx(0.5)


def test_one_kind_alone_has_no_rate() -> None:
    assert np.isnan(equal_error(pairs_of(VECTORS, np.zeros(4, int)))[0]) and np.isnan(equal_error(pairs_of(VECTORS, np.arange(4)))[0])


def test_queries_meet_every_other_stored_vector() -> None:
    assert len(pairs_of(VECTORS, LABELS, VECTORS).same) == 12
    assert equal_error(pairs_of(VECTORS, LABELS, -VECTORS))[0] > 0.9  # of a space turned round


@pytest.mark.parametrize("people", [3, 40])
def test_interval_holds_the_rate_and_is_wider_of_fewer_rows(people: int) -> None:
    ends = []
    for rows in (80, 240):
        pairs = pairs_of(*crowd(rows, people, 1.5))
        low, high = equal_error_interval(pairs)
        assert low < equal_error(pairs)[0] < high
        ends.append(high - low)
    assert ends[1] < ends[0] or people >= verification.MANY  # where people are drawn, more rows of the same people do not help as much


def test_of_many_rows_whole_labels_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MOST", 40)
    labels = np.repeat(np.arange(30), 10)
    pairs = pairs_of(np.random.default_rng(0).normal(size=(300, 4)), labels)
    assert len(pairs.labels) == 40 and len(np.unique(pairs.labels)) <= 5 and pairs.same.any()
