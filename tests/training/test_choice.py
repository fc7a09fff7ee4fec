"""Which weights stay: luck on few rows does not decide, what is better beyond chance does, and a checkpoint changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from compress.training.choice import Choice


def chosen(curve: list[np.ndarray], choice: Choice | None = None) -> int:
    """The last validation whose weights stayed; -1 for those before the first step."""
    choice = choice or Choice()
    return max([-1, *(step for step, gains in enumerate(curve) if choice.take(gains)[0])])


def right(shares: list[float], rows: int, seed: int = 0) -> list[np.ndarray]:
    """Gains (rows,) of 0 and 1 drawn for each validation."""
    rng = np.random.default_rng(seed)
    return [(rng.random(rows) < share).astype(float) for share in shares]


def at(*shares: float) -> list[np.ndarray]:
    """Gains without any spread."""
    return [np.full(50, share) for share in shares]


def test_one_lucky_validation_on_few_rows_does_not_decide() -> None:
    curve = right([0.62] * 20, 57)
    curve[4] = (np.arange(57) < 47).astype(float)  # 82 %
    assert max(gains.mean() for gains in curve[5:]) < curve[4].mean()
    assert chosen(curve) > 15


def test_weights_that_are_worse_beyond_chance_do_not_stay() -> None:
    assert chosen(right([0.3, 0.6, 0.9, 0.9, 0.9, 0.5, 0.5, 0.4], 400)) == 4


@pytest.mark.parametrize(("times", "stays"), [(1, 4), (1000, 3)])
def test_a_small_loss_counts_where_rows_are_many_and_not_where_they_are_few(times: int, stays: int) -> None:
    before, after = np.arange(60) < 48, np.arange(60) < 48
    after[[0, 1, 50]] = [False, False, True]  # two rows lost, one won
    assert chosen([np.tile(gains, times).astype(float) for gains in (before, before, before, before, after)]) == stays


@pytest.mark.parametrize(("curve", "stays"), [((0.5, 0.5, 0.5), 2), ((0.2, 0.9, 0.5, 0.4), 1), ((0.6, 0.61, 0.62), 2)])
def test_without_any_spread_the_best_stays_and_of_equals_the_last(curve: tuple[float, ...], stays: int) -> None:
    assert chosen(at(*curve)) == stays


def test_weights_of_before_the_first_step_stay_where_training_does_harm() -> None:
    known = right([0.8], 200)[0]
    assert chosen(right([0.5, 0.6], 200, seed=1), Choice(known)) == -1
    assert chosen([known], Choice(known)) == 0


@pytest.mark.parametrize(("lost", "stays"), [(2, 0), (6, -1)])  # of 60 rows: 1 won beside, 0.6 and 1.9 standard errors
def test_one_standard_error_counts_against_weights_of_before_the_first_step(lost: int, stays: int) -> None:
    known, after = np.arange(60) < 48, np.arange(60) < 48
    after[:lost], after[50] = False, True
    assert chosen([after.astype(float)], Choice(known.astype(float))) == stays
    assert chosen([known.astype(float)] * 3 + [after.astype(float)]) == 3  # two count among those of the training


def test_the_best_has_become_better_only_where_its_mean_has() -> None:
    choice = Choice()
    assert [choice.take(gains)[1] for gains in at(0.5, 0.6, 0.6, 0.3)] == [True, True, True, False]


def test_goes_on_from_a_checkpoint_as_if_nothing_had_been() -> None:
    curve = right([0.4, 0.6, 0.7, 0.65, 0.7, 0.6], 40)
    whole, first = Choice(), Choice()
    told = [whole.take(gains) for gains in curve]
    for gains in curve[:3]:
        first.take(gains)
    again = Choice()
    again.restore(first.state())
    assert [again.take(gains) for gains in curve[3:]] == told[3:]
