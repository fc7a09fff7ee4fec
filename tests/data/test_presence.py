"""Rows that lack an input: taken where the recipe says so, noted, and pointing at some other input, which never decides anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.data.baseline import lookup_answers
from compress.data.prepare import prepare
from compress.data.prepared import open_data
from compress.data.presence import patterns, stand_in
from compress.errors import DataError
from compress.io_spec import PRESENT


@pytest.fixture
def run(make_source: Callable, config: Callable, tmp_path: Path) -> Callable[..., dict]:
    """Prepares rows to tmp_path/out, rows that lack inputs among them."""

    def prepared(rows: dict, **changes: object) -> dict:
        data = config(**{"allow_missing": True, **changes})
        return prepare(make_source(rows), data, tmp_path / "out", say=lambda line: None)

    return prepared


def test_patterns_are_told_apart_and_read_like_the_row() -> None:
    codes, distinct = patterns(np.array([[False, True], [False, False], [False, True], [True, False]]))
    assert [distinct[int(code)].as_py() for code in codes] == ["10", "11", "10", "01"]


def test_a_stand_in_is_usable_spread_and_depends_on_the_row_alone() -> None:
    number, usable = np.arange(1, 2001), np.array([1, 4, 6])
    found = stand_in(np.full(2000, -1), number, usable)
    assert set(found) == {1, 4, 6} and np.bincount(found).max() < 800  # 667 each, deviation 21
    assert np.array_equal(stand_in(np.full(100, -1), number[500:600], usable), found[500:600])
    assert stand_in(np.array([3, -1, 5]), number[:3], usable).tolist()[::2] == [3, 5]


def test_rows_that_lack_an_input_are_kept_and_noted(rows: dict, run: Callable, tmp_path: Path) -> None:
    rows["train"][0]["image"] = ""
    rows["test"][1]["image"] = None
    rows["test"][2]["text"] = "  "
    report = run(rows, validation_fraction=0.2)
    data = open_data(tmp_path / "out")
    test = data.split("test")
    assert data.ports == ["image", "text", PRESENT] and list(test.rows) == data.ports
    assert test.lacks("image").nonzero()[0].tolist() == [1] and test.lacks("text").nonzero()[0].tolist() == [2]
    assert np.asarray(test.inputs[PRESENT])[test.rows[PRESENT]][[0, 1, 2]].tolist() == [[1, 1], [0, 1], [1, 0]]
    assert report["splits"]["test"]["lacking"] == {"image": 1, "text": 1}
    assert sum(report["splits"][name]["lacking"]["image"] for name in ("train", "validation")) == 1
    assert report["splits"]["test"]["inputs"] == {"image": 6, "text": 2} and not report["skipped"]["rows"]


def test_a_row_without_any_input_is_unusable(rows: dict, run: Callable) -> None:
    rows["train"][3] |= {"image": "", "text": ""}
    with pytest.raises(DataError, match=r"no input at all: 1 row\n    train row 4"):
        run(rows)


def test_a_modality_that_no_row_has_is_refused(rows: dict, run: Callable) -> None:
    for row in rows["test"]:
        row["image"] = None
    with pytest.raises(DataError, match="no usable row of test has an input of the modality image"):
        run(rows)


def test_without_the_word_a_blank_cell_is_a_bad_row_and_nothing_is_noted(rows: dict, run: Callable, tmp_path: Path) -> None:
    run(rows, allow_missing=False)
    assert open_data(tmp_path / "out").ports == ["image", "text"] and not (tmp_path / "out" / "train" / "rows_present.npy").exists()
    rows["train"][0]["image"] = ""
    with pytest.raises(DataError, match="no image: 1 row"):
        run(rows, allow_missing=False)


def test_an_image_that_cannot_be_read_takes_no_row_along_that_lacks_one(rows: dict, run: Callable, tmp_path: Path) -> None:
    for row in rows["test"][2:]:  # of 12 rows only those of the first image have one; it is broken, and so is nothing else
        row["image"] = ""
    rows["test"].append({**rows["test"][0], "image": "images/broken.png"})
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    report = run(rows, on_bad_row="skip")
    test = open_data(tmp_path / "out").split("test")
    assert report["skipped"]["rows"] == 1 and len(test) == 12 and test.lacks("image").sum() == 10
    assert set(np.asarray(test.rows["image"])) == {0}


def test_rows_without_an_image_are_no_near_duplicates_and_point_at_no_left_out_image(rows: dict, run: Callable, tmp_path: Path) -> None:
    for row in rows["test"][2:]:
        row["image"] = ""
    rows["test"][0]["label"] = "unheard of"  # one of the two rows of the only image
    report = run(rows, on_bad_row="skip")
    test, near = open_data(tmp_path / "out").split("test"), report["splits"]["test"]["near_duplicates"]
    assert report["splits"]["test"]["inputs"]["image"] == 1 and near["inputs"] == near["rows"] == 1
    assert np.asarray(test.near_train).nonzero()[0].tolist() == [0] and not test.lacks("image")[0]


def test_what_a_missing_text_points_at_votes_for_nothing(rows: dict, run: Callable, tmp_path: Path) -> None:
    rows["test"][0]["text"] = ""
    for row in rows["train"]:
        if row["text"] == "what colour?" and row["label"] != "blue":
            row["text"] = ""
    run(rows, validation_fraction=0.2)
    data = open_data(tmp_path / "out")
    answers = lookup_answers(data, "text")
    majority = int(np.bincount(data.split("train").labels).argmax())
    assert answers[0] == majority  # of a row without a text
    assert {data.labels[k] for k in answers[2::2]} == {"blue"}  # all that is left of the first question
