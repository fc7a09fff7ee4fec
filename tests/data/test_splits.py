"""Seeded choices of inputs: nested, independent, whole inputs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from compress.data.rows import Distinct, Rows
from compress.data.splits import cut_validation, hide_labels, limit


@pytest.fixture
def rows() -> Rows:
    """100 texts with 3 rows each; the rows of texts 0 to 9 have no label."""
    codes = np.repeat(np.arange(100), 3).astype(np.int32)
    labels = np.where(codes < 10, -1, codes % 4).astype(np.int32)
    texts = Distinct(pa.array([str(index) for index in range(100)]))
    return Rows("train", np.arange(1, 301), {"text": codes}, {"text": texts}, labels, np.full(300, -1, np.int16))


def labelled(rows: Rows) -> set[int]:
    return set(rows.codes["text"][rows.labels >= 0].tolist())


def test_smaller_labelled_share_is_part_of_the_larger(rows: Rows) -> None:
    shares = [labelled(hide_labels(rows, fraction, group="text", seed=3)) for fraction in (0.05, 0.3, 1.0)]
    assert [len(share) for share in shares] == [4, 27, 90] and shares[0] < shares[1] < shares[2]


def test_smaller_limit_is_part_of_the_larger(rows: Rows) -> None:
    few, many = (set(limit(rows, count, group="text", seed=3).inputs["text"].keys.to_pylist()) for count in (5, 50))
    assert len(few) == 5 and len(many) == 50 and few < many


def test_limit_above_the_inputs_changes_nothing(rows: Rows) -> None:
    assert limit(rows, None, group="text", seed=0) is limit(rows, 1000, group="text", seed=0) is rows


def test_choices_are_independent_of_each_other(rows: Rows) -> None:
    kept = set(limit(rows, 45, group="text", seed=0).inputs["text"].keys.to_pylist())
    assert kept != {str(code) for code in labelled(hide_labels(rows, 0.5, group="text", seed=0))}


def test_validation_holds_labelled_inputs_only(rows: Rows) -> None:
    train, validation = cut_validation(rows, 0.2, group="text", seed=1)
    assert len(validation.inputs["text"]) == 18 and (validation.labels >= 0).all()
    assert len(train.inputs["text"]) == 82 and (train.labels < 0).sum() == 30
    assert not set(train.number.tolist()) & set(validation.number.tolist())


@pytest.mark.parametrize(("fraction", "count"), [(0.0001, 1), (0.9999, 89)])
def test_validation_takes_at_least_one_and_never_all(rows: Rows, fraction: float, count: int) -> None:
    assert len(cut_validation(rows, fraction, group="text", seed=1)[1].inputs["text"]) == count
