"""Paired comparison of answers that are more or less good: against every swap of the two models, and against what is drawn again."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compress.measures.metrics import mean_interval
from compress.measures.paired import compare_paired, resample_gains


def test_p_is_that_of_all_swaps_of_the_two_models() -> None:
    net = np.array([0.5, 0.3, -0.1, 0.4, 0.25, -0.05, 0.6])
    swaps = np.array(list(product((1, -1), repeat=len(net)))) @ net
    exact = float(np.mean(np.abs(swaps) >= abs(net.sum()) - 1e-12))
    assert resample_gains(net, np.ones(7, int))[2] == pytest.approx(exact, abs=0.01)  # 10,000 draws


def test_interval_and_p_hold_what_they_promise() -> None:
    """400 draws of 30 rows in 10 groups whose models differ by 0.1 on average: 95 % of the intervals hold it, and 5 % of p are below 5 %."""
    draw, held, shown = np.random.default_rng(0), 0, 0
    for seed in range(400):
        groups = np.repeat(np.arange(10), 3)
        gains = draw.normal(size=10)[groups] * 0.3 + draw.normal(size=30) * 0.3
        low, high, p = resample_gains(np.bincount(groups, gains), np.full(10, 3), draws=500, seed=seed)
        held, shown = held + (low <= 0 <= high), shown + (p < 0.05)
    assert 0.92 < held / 400 < 0.99
    assert shown / 400 < 0.08


def test_comparison_counts_rows_that_are_answered_better() -> None:
    a, b = np.array([0.9, 0.5, 0.2, 0.7]), np.array([0.8, 0.5, 0.4, 0.1])
    paired = compare_paired(a, b)
    assert (paired.a_only, paired.b_only, paired.samples, paired.clusters) == (2, 1, 4, None)
    assert paired.difference == pytest.approx(100 * (0.1 + 0 - 0.2 + 0.6) / 4)
    assert paired.low < paired.difference < paired.high


def test_equal_answers_have_no_width_and_are_never_shown() -> None:
    paired = compare_paired(np.full(20, 0.3), np.full(20, 0.3), margin=0.5)
    assert (paired.difference, paired.low, paired.high, paired.p) == (0, 0, 0, 1.0)
    assert paired.verdict == "the same within 0.5 points"


def test_rows_of_a_group_are_one_draw_of_luck() -> None:
    gains = np.repeat(np.random.default_rng(1).normal(0.2, 0.5, 12), 20)
    alone, together = compare_paired(gains, np.zeros(240)), compare_paired(gains, np.zeros(240), clusters=np.repeat(np.arange(12), 20))
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.clusters == 12


def test_many_groups_are_bundled_without_a_change_of_width() -> None:
    gains = np.random.default_rng(2).normal(0.01, 1, 20_000)
    paired = compare_paired(gains, np.zeros(20_000))
    width = 2 * 1.96 / 20_000**0.5 * 100
    assert paired.high - paired.low == pytest.approx(width, rel=0.1)


def test_right_and_wrong_as_numbers_agree_with_mcnemar() -> None:
    a, b = np.arange(200) < 120, np.arange(200) % 2 == 0
    exact, drawn = compare_paired(a, b), compare_paired(a.astype(float), b.astype(float))
    assert drawn.difference == exact.difference
    assert drawn.p == pytest.approx(exact.p, abs=0.02)


def test_interval_of_a_mean_by_hand() -> None:
    # mean 2, deviation 1 of n - 1, standard error 1 / sqrt 3
    assert mean_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2 - 1.959964 / 3**0.5, 2 + 1.959964 / 3**0.5))
    assert mean_interval(np.array([4.0])) == (4.0, 4.0)
