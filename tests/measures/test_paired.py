"""Paired comparisons: planted differences that must be found, planted luck that must not, and how often chance alone is taken for more."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from compress.measures.paired import (
    Paired,
    compare_paired,
    deciding,
    describe_paired,
    mcnemar,
    resample_clusters,
    show_p,
    tango_interval,
    which_ships,
)


def answers(won: int, lost: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which a alone has the first `won` right and b alone the last `lost`; both have the others."""
    a, b = np.ones(rows, bool), np.ones(rows, bool)
    b[:won] = False
    a[rows - lost :] = False
    return a, b


def planted(won: int, lost: int, rows: int, margin: float | None = None) -> Paired:
    return compare_paired(*answers(won, lost, rows), margin=margin)


def test_mcnemar_golden() -> None:
    assert mcnemar(5, 1) == pytest.approx(2 * (1 + 6) / 2**6)  # 0 or 1 of 6 coins, either side
    assert mcnemar(6, 0) == pytest.approx(2 / 2**6)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0


@pytest.mark.parametrize(
    ("won", "lost", "rows", "verdict"),
    [
        (40, 17, 1000, "better"),
        (17, 40, 1000, "worse"),
        (60, 40, 1000, "not shown"),  # 2 points
        (150, 250, 10_000, "worse"),  # 1 point lost among much churn
        (200, 200, 10_000, "not shown"),
        (5, 0, 50, "not shown"),
        (6, 0, 50, "better"),
        (0, 0, 10, "not shown"),
    ],
)
def test_planted_difference_is_found_and_luck_is_not(won: int, lost: int, rows: int, verdict: str) -> None:
    found = planted(won, lost, rows)
    assert found.verdict == verdict
    assert (found.a_only, found.b_only, found.samples, found.clusters) == (won, lost, rows, None)
    assert found.difference == pytest.approx(100 * (won - lost) / rows)
    assert found.low < found.difference < found.high
    assert (found.low > 0 or found.high < 0) == (verdict in ("better", "worse"))


def test_example_of_the_two_students() -> None:
    assert planted(40, 17, 1000).p == pytest.approx(0.0032, abs=1e-4)


def test_same_is_said_only_where_the_interval_lies_within_the_margin() -> None:
    assert planted(20, 20, 10_000, margin=0.5).verdict == "the same within 0.5 points"
    assert planted(200, 200, 10_000, margin=0.5).verdict == "the same within 0.5 points"
    assert planted(2, 2, 400, margin=0.5).verdict == "not shown"  # so few rows cannot show it
    assert planted(0, 0, 100, margin=0.5).verdict == "not shown"
    assert planted(20, 20, 10_000).verdict == "not shown"  # nobody named a margin
    assert planted(30, 10, 10_000, margin=0.5).verdict == "better"  # although small: it is shown


def test_interval_is_score_interval_at_its_own_ends() -> None:
    """Tango's equation, with the correction of one pair, solved for the share q of rows that b alone has right by brute force."""
    won, lost, rows = 12, 5, 200
    q = np.linspace(1e-6, 0.5, 400_001)
    for d, sign in zip(tango_interval(won, lost, rows), (1, -1), strict=True):
        inside = (q + d > 0) & (1 - 2 * q - d > 0)
        share = q[inside]
        log_likelihood = won * np.log(share + d) + lost * np.log(share) + (rows - won - lost) * np.log(1 - 2 * share - d)
        best = share[log_likelihood.argmax()]
        deviation = (rows * (2 * best + d - d * d)) ** 0.5
        assert (sign * (won - lost - rows * d) - 1) / deviation == pytest.approx(1.959964, abs=1e-3)


def test_interval_mirrors_when_the_models_change_places() -> None:
    low, high = tango_interval(12, 5, 200)
    assert tango_interval(5, 12, 200) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("won", "lost"), [(50, 0), (0, 50), (0, 0)])
def test_interval_has_a_width_and_stays_within_all_rows_at_the_ends(won: int, lost: int) -> None:
    low, high = tango_interval(won, lost, 50)
    assert -1 <= low <= (won - lost) / 50 <= high <= 1
    assert high - low > 0.1


def test_interval_without_zero_and_exact_test_agree() -> None:
    """But for two of these 900 pairs of counts, both with p between 0.048 and 0.05, where the interval ends a hair beyond zero."""
    counts = [(won, total - won) for total in range(1, 60) for won in range(total // 2, total + 1)]
    split = [(mcnemar(*pair), tango_interval(*pair, 1000)[0]) for pair in counts]
    odd = [(p, low) for p, low in split if (p < 0.05) != (low > 0)]
    assert len(counts) > 900
    assert len(odd) == 2
    assert all(0.048 < p < 0.05 and -1e-4 < low <= 0 for p, low in odd)


@cache
def cached_interval(won: int, lost: int, rows: int) -> tuple[float, float]:
    return tango_interval(won, lost, rows)


@pytest.mark.parametrize(
    ("rows", "won", "lost", "least", "most"),
    [
        (4000, 0.25, 0.10, 0.93, 0.97),
        (4000, 0.04, 0.02, 0.93, 0.97),
        (400, 0.25, 0.10, 0.93, 0.97),
        (400, 0.04, 0.02, 0.94, 0.99),
        (4000, 0.002, 0.001, 0.94, 1.0),  # about 12 discordant rows: conservative
        (400, 0.005, 0.0, 0.97, 1.0),  # about 2
        (50, 0.04, 0.02, 0.97, 1.0),  # about 3
    ],
)
def test_interval_of_independent_rows_covers_the_truth(rows: int, won: float, lost: float, least: float, most: float) -> None:
    drawn = np.random.default_rng(0).multinomial(rows, [won, lost, 1 - won - lost], size=2000)
    ends = np.array([cached_interval(int(a), int(b), rows) for a, b, _ in drawn])  # (2000, 2)
    covered = np.mean((ends[:, 0] <= won - lost) & (won - lost <= ends[:, 1]))
    assert least <= covered <= most


def whole_groups(rng: np.random.Generator, groups: int, won: float, lost: float, *, equal: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """net and sizes (G,): every group flips as a whole."""
    sizes = np.full(groups, 10) if equal else rng.integers(2, 30, groups)
    return rng.choice([1, -1, 0], groups, p=[won, lost, 1 - won - lost]) * sizes, sizes


@pytest.mark.parametrize(("groups", "equal", "most"), [(1000, True, 0.08), (100, False, 0.08), (24, True, 0.06), (10, False, 0.05)])
def test_groups_that_flip_together_seldom_show_a_difference_by_chance(groups: int, equal: bool, most: float) -> None:
    """About 5 %, fewer with few groups, of 400 comparisons of models that do not differ; rows taken one by one would cry 50 % and more."""
    rng = np.random.default_rng(3)
    drawn = [whole_groups(rng, groups, 0.15, 0.15, equal=equal) for _ in range(400)]
    p = [resample_clusters(net, sizes, draws=600, seed=n)[2] for n, (net, sizes) in enumerate(drawn)]
    naive = [mcnemar(int(net[net > 0].sum()), int(-net[net < 0].sum())) for net, _ in drawn]
    assert np.mean(np.array(p) < 0.05) <= most
    assert np.mean(np.array(naive) < 0.05) > 0.35
    if groups >= 100:
        assert np.mean(np.array(p) < 0.05) >= 0.025


@pytest.mark.parametrize("equal", [True, False])
def test_interval_of_groups_covers_the_truth(equal: bool) -> None:
    rng = np.random.default_rng(4)
    ends = [resample_clusters(*whole_groups(rng, 100, 0.3, 0.1, equal=equal), draws=600, seed=n)[:2] for n in range(300)]
    assert np.mean([low <= 0.2 <= high for low, high in ends]) >= 0.93


def test_groups_of_one_row_each_are_independent_rows() -> None:
    a, b = answers(40, 17, 1000)
    assert compare_paired(a, b, clusters=np.random.default_rng(0).permutation(1000)) == compare_paired(a, b)


def test_groups_whose_rows_flip_one_by_one_agree_with_the_exact_test() -> None:
    """Each discordant row in a group of its own: the swap of groups is the swap of rows."""
    a, b = answers(40, 17, 1000)
    groups = np.arange(1000) % 500
    assert len(set(groups[:40]) | set(groups[-17:])) == 57
    found = compare_paired(a, b, clusters=groups)
    assert found.p == pytest.approx(mcnemar(40, 17), abs=0.0015)
    assert (found.low, found.high) == pytest.approx([100 * end for end in tango_interval(40, 17, 1000)], abs=0.15)
    assert found.clusters == 500


def test_many_rows_of_few_groups_show_nothing() -> None:
    a, b = answers(400, 0, 1000)
    found = compare_paired(a, b, clusters=np.arange(1000) // 200)  # 2 of 5 groups
    assert found.verdict == "not shown"
    assert found.high > 80
    assert planted(400, 0, 1000).verdict == "better"


def test_groups_without_any_difference_are_not_known_to_be_the_same() -> None:
    right = np.ones(1000, bool)
    found = compare_paired(right, right, clusters=np.arange(1000) // 100, margin=5)
    assert (found.verdict, found.p) == ("not shown", 1.0)
    assert (found.low, found.high) == pytest.approx((-5.5, 5.5), abs=0.1)  # as 100 independent rows, for 10 of 100 may move at once
    assert compare_paired(right, right, margin=5).verdict == "the same within 5 points"


def test_result_does_not_depend_on_the_order_of_rows_or_on_the_names_of_groups() -> None:
    rng = np.random.default_rng(5)
    a, b, groups = rng.random(500) < 0.9, rng.random(500) < 0.8, rng.integers(60, size=500)
    order = rng.permutation(500)
    first, second = compare_paired(a, b, clusters=groups), compare_paired(a[order], b[order], clusters=groups[order])
    assert first == second


def test_no_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        compare_paired(np.zeros(0, bool), np.zeros(0, bool))


def test_words_hold_interval_counts_and_p() -> None:
    found = planted(40, 17, 1000).to_json()
    assert describe_paired(found) == "+2.30 points (+0.75 to +3.98), 40 rows against 17 of 1,000, p 0.0032"
    assert describe_paired({**found, "clusters": 24}).endswith("of 1,000 in 24 groups, p 0.0032")
    assert show_p(0.0004) == "p < 0.001"
    assert found["verdict"] == "better"
    assert found["unit"] == "points"


SAME, BETTER, WORSE = planted(60, 40, 1000), planted(40, 17, 1000), planted(17, 40, 1000)
SLIGHTLY_WORSE = planted(2, 18, 10_000, margin=0.5)


@pytest.mark.parametrize(
    ("comparisons", "ships", "words"),
    [
        ([SAME], "a", "a ships, which is not shown to be worse"),
        ([BETTER], "a", "a ships, which is shown to be better (p 0.0032)"),
        ([WORSE], "b", "b ships, which is shown to be better (p 0.0032)"),
        ([SAME, WORSE], "b", "shown to be better"),
        ([WORSE, BETTER], "b", "shown to be better"),  # the weightiest first
        ([SLIGHTLY_WORSE], "b", "shown to be better"),
        ([SLIGHTLY_WORSE, BETTER], "a", "shown to be better"),  # less than the margin gives way
        ([SLIGHTLY_WORSE, SAME], "b", "shown to be better"),
    ],
)
def test_no_model_ships_that_is_known_to_be_worse(comparisons: list[Paired], ships: str, words: str) -> None:
    winner, reason = which_ships("a", "b", *comparisons)
    assert winner == ships
    assert words in reason


def test_nothing_shown_settles_nothing() -> None:
    assert deciding(SAME, planted(0, 0, 10)) is None
