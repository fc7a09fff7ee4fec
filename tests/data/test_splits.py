"""Seeded choices of inputs: nested, independent, whole groups, every label in train."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from compress.data.rows import Distinct, Rows
from compress.data.splits import deal, hide_labels, hold_out, limit, settle, unite
from compress.errors import DataError

UNGROUPED = -1


@pytest.fixture
def make_rows() -> Callable[..., Rows]:
    """One row an input, unless `codes` says which input each row has."""

    def make(labels: list[int] | np.ndarray, groups: list[int] | np.ndarray | None = None, codes: np.ndarray | None = None) -> Rows:
        count = len(labels)
        owners = np.arange(count) if codes is None else codes
        texts = Distinct(pa.array([str(index) for index in range(owners.max() + 1)]))
        return Rows(
            split="train",
            number=np.arange(1, count + 1),
            codes={"text": owners.astype(np.int32)},
            inputs={"text": texts},
            labels=np.asarray(labels, np.int32),
            strata=np.asarray(labels, np.int32),
            kinds=np.full(count, -1, np.int16),
            groups=np.full(count, UNGROUPED, np.int32) if groups is None else np.asarray(groups, np.int32),
            ids=np.array([f"train:{number}" for number in range(1, count + 1)]),
        )

    return make


@pytest.fixture
def rows(make_rows: Callable) -> Rows:
    """100 texts with 3 rows each; the rows of texts 0 to 9 have no label."""
    codes = np.repeat(np.arange(100), 3)
    return make_rows(np.where(codes < 10, -1, codes % 4), codes=codes)


@pytest.fixture
def patients(make_rows: Callable) -> Rows:
    """1,000 texts of 60 groups, the sizes of which lie between 1 and 40; three labels, 70, 25 and 5 %."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), draw.integers(1, 40, 60))[:1000]
    return make_rows(draw.choice(3, len(groups), p=[0.7, 0.25, 0.05]), groups)


def labelled(rows: Rows) -> set[int]:
    return set(rows.codes["text"][rows.labels >= 0].tolist())


def texts(rows: Rows) -> set[str]:
    return set(rows.inputs["text"].keys.to_pylist())


def test_inputs_of_a_group_and_near_duplicates_are_one_unit(make_rows: Callable) -> None:
    rows = make_rows([0] * 7, [5, UNGROUPED, 5, 2, UNGROUPED, 2, UNGROUPED])
    units = unite(rows, np.array([[2, 1], [4, 6]]))
    assert [set(np.flatnonzero(units == unit)) for unit in dict.fromkeys(units)] == [{0, 1, 2}, {3, 5}, {4, 6}]


def test_rows_of_one_input_are_one_unit_without_groups(rows: Rows) -> None:
    assert len(np.unique(unite(rows))) == 100 and (unite(rows).reshape(100, 3) == unite(rows)[::3, None]).all()


def test_input_with_rows_in_two_groups_joins_them(make_rows: Callable) -> None:
    assert len(np.unique(unite(make_rows([0, 0, 0], [1, 2, 2], np.array([0, 0, 1]))))) == 1


def test_smaller_labelled_share_is_part_of_the_larger(rows: Rows) -> None:
    shares = [labelled(hide_labels(rows, fraction, seed=3)) for fraction in (0.05, 0.3, 1.0)]
    assert [len(share) for share in shares] == [5, 27, 90] and shares[0] < shares[1] < shares[2]


def test_smaller_limit_is_part_of_the_larger(rows: Rows) -> None:
    few, many = (texts(limit(rows, count, seed=3)) for count in (5, 50))
    assert len(few) == 5 and len(many) == 50 and few < many


def test_smaller_validation_is_part_of_the_larger(rows: Rows) -> None:
    held = [hold_out(rows, fraction, seed=3) for fraction in (0.02, 0.1, 0.5)]
    assert [mask.sum() for mask in held] == [6, 27, 135] and (held[0] <= held[1]).all() and (held[1] <= held[2]).all()


def test_limit_above_the_inputs_changes_nothing(rows: Rows) -> None:
    assert limit(rows, None, seed=0) is limit(rows, 1000, seed=0) is rows


def test_choices_are_independent_of_each_other(rows: Rows) -> None:
    assert texts(limit(rows, 45, seed=0)) != {str(code) for code in labelled(hide_labels(rows, 0.5, seed=0))}


def test_validation_holds_all_rows_of_inputs_that_have_a_label(rows: Rows) -> None:
    held = hold_out(rows, 0.2, seed=1).reshape(100, 3)
    assert (held == held[:, :1]).all() and held[:, 0].sum() == 18 and not held[:10].any()


def test_other_seed_holds_out_other_inputs(rows: Rows) -> None:
    assert (hold_out(rows, 0.2, seed=1) == hold_out(rows, 0.2, seed=1)).all() and (
        hold_out(rows, 0.2, seed=1) != hold_out(rows, 0.2, seed=2)
    ).any()


@pytest.mark.parametrize(("fraction", "count"), [(0.0001, 1), (0.9999, 86)])
def test_validation_takes_at_least_one_and_leaves_one_of_each_label(rows: Rows, fraction: float, count: int) -> None:
    held = hold_out(rows, fraction, seed=1)
    assert held.sum() == 3 * count and set(rows.labels[~held]) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(5))
def test_validation_has_each_label_in_its_share(make_rows: Callable, seed: int) -> None:
    rows = make_rows(np.repeat([0, 1, 2], [900, 80, 20]))
    held = hold_out(rows, 0.1, seed=seed)
    # a tenth is 90, 8 and 2; the common order is cut at 100 inputs, which may cost one label one input and win another one
    assert held.sum() == 100 and (abs(np.bincount(rows.labels[held]) - [90, 8, 2]) <= 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_label_with_a_single_input_stays_in_train(make_rows: Callable, seed: int) -> None:
    rows = make_rows([0] * 20 + [1] * 3 + [2])
    held = hold_out(rows, 0.5, seed=seed)
    assert not held[-1] and {0, 1} <= set(rows.labels[~held]) and held.sum() == 12


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_validation_is_cut_by_whole_groups_to_about_its_share(patients: Rows, fraction: float, seed: int) -> None:
    held = hold_out(patients, fraction, seed=seed)
    assert not set(patients.groups[held]) & set(patients.groups[~held])
    assert abs(held.mean() - fraction) < 0.02  # half of the largest group


def test_group_too_large_for_the_share_is_passed_over(make_rows: Callable) -> None:
    rows = make_rows([0, 1] * 50, [0] * 80 + [1] * 10 + [2] * 10)
    assert all(set(rows.groups[hold_out(rows, 0.1, seed=seed)]) in ({1}, {2}) for seed in range(10))


def test_share_below_all_groups_takes_the_smallest(make_rows: Callable) -> None:
    rows = make_rows([0, 1] * 50, [0] * 50 + [1] * 30 + [2] * 20)
    held = [hold_out(rows, 0.01, seed=seed) for seed in range(10)]  # one group stays for its labels
    assert {frozenset(rows.groups[mask].tolist()) for mask in held} == {frozenset({2}), frozenset({1})}


@pytest.mark.parametrize(
    ("labels", "groups", "why"),
    [
        ([0, 1, 0, 1], [3, 3, 3, 3], "all its labelled rows belong to one group"),
        ([0, 0, 1, 1], [3, 3, 4, 4], "each of its 2 groups has a label that no other has"),
        ([0, 1, 2], None, "each of its 3 texts has a label that no other has"),
    ],
)
def test_train_that_cannot_be_cut_is_refused(make_rows: Callable, labels: list, groups: list | None, why: str) -> None:
    with pytest.raises(DataError, match=f"{why}. Give a validation split"):
        hold_out(make_rows(labels, groups), 0.5, seed=0)


def test_family_goes_where_its_first_row_was(make_rows: Callable) -> None:
    rows = make_rows([0, 1] * 5)
    held = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0], bool)
    settled = settle(rows, held, np.array([[4, 9], [1, 5]]))
    assert settled.tolist() == [False] * 4 + [True, False, True, True, True, True]


def test_family_larger_than_validation_goes_to_train(make_rows: Callable) -> None:
    rows, held = make_rows([0, 1] * 5), np.arange(10) < 3
    chain = np.stack([np.arange(2, 9), np.arange(3, 10)], axis=1)
    assert settle(rows, held, chain).tolist() == [True] * 2 + [False] * 8


def test_family_does_not_take_a_label_from_train(make_rows: Callable) -> None:
    rows, held = make_rows([0, 0, 0, 0, 0, 1]), np.array([1, 1, 1, 0, 0, 0], bool)
    assert settle(rows, held, np.array([[2, 5]])).tolist() == [True, True] + [False] * 4


def test_cut_stays_where_everything_is_like_everything(make_rows: Callable) -> None:
    rows, held = make_rows([0, 1] * 3), np.arange(6) < 2
    assert (settle(rows, held, np.stack([np.arange(5), np.arange(1, 6)], axis=1)) == held).all()


def test_cut_without_near_duplicates_stays(patients: Rows) -> None:
    held = hold_out(patients, 0.2, seed=0)
    assert (settle(patients, held, np.empty((0, 2), int)) == held).all()


def test_limit_keeps_whole_groups_but_for_the_last(patients: Rows) -> None:
    kept = limit(patients, 200, seed=0)
    sizes, whole = np.bincount(kept.groups, minlength=60), np.bincount(patients.groups, minlength=60)
    assert len(kept) == 200 and ((sizes > 0) & (sizes < whole)).sum() <= 1


def test_limit_of_train_has_each_label(make_rows: Callable) -> None:
    rows = make_rows([0] * 500 + [1] * 3 + [2])
    assert all(set(limit(rows, 5, seed=seed, every_label=True).labels) == {0, 1, 2} for seed in range(5))
    assert any(set(limit(rows, 5, seed=seed).labels) == {0} for seed in range(5))


def test_labels_are_hidden_by_whole_groups(patients: Rows) -> None:
    hidden = hide_labels(patients, 0.25, seed=0)
    kept = set(hidden.groups[hidden.labels >= 0])
    assert not kept & set(hidden.groups[hidden.labels < 0]) and abs((hidden.labels >= 0).mean() - 0.25) < 0.02
    assert set(hidden.labels) == {-1, 0, 1, 2} and (hidden.labels[hidden.labels >= 0] == patients.labels[hidden.labels >= 0]).all()


def test_cut_does_not_mend_what_train_lacked_before(make_rows: Callable) -> None:
    rows, held = make_rows([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1], bool)
    assert (settle(rows, held, np.array([[0, 1]])) == held).all()


def test_folds_hold_whole_units_and_every_label_in_its_share() -> None:
    units, strata = np.repeat(np.arange(90), 2), np.repeat(np.arange(90) % 3, 2)
    fold = deal(units + 7, strata, 3, seed=1)  # units need no numbers from 0 on
    assert (fold[::2] == fold[1::2]).all() and set(fold) == {0, 1, 2}
    assert [np.bincount(strata[fold == one]).tolist() for one in range(3)] == [[20, 20, 20]] * 3  # 60 rows a label, a third of them each
    assert (fold != deal(units, strata, 3, seed=2)).any()
