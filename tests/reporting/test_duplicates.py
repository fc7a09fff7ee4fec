"""Near duplicates in the report: shown as pairs, and left out of a second accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.data.prepared import PreparedData
from compress.reporting.duplicates import score_apart, show_near

EXAMPLE = {"input": 2, "row": 11, "train_input": 0, "train_row": 7}


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    """Eight test rows, one an image of its own shade; rows 2 and 3 are near duplicates of a training image."""
    for name, count in (("train", 4), ("test", 8)):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "image.npy", np.full((count, 8, 8, 3), 200, np.uint8))
        near = np.isin(np.arange(count), (2, 3)) if name == "test" else np.zeros(count, bool)
        zeros = np.zeros(count, np.int32)
        arrays = {"rows_image": np.arange(count), "labels": zeros, "kinds": zeros, "groups": zeros - 1, "near_train": near}
        for file, values in arrays.items():
            np.save(folder / f"{file}.npy", values)
    near_test = {"of": "image", "inputs": 2, "rows": 2, "examples": [EXAMPLE]}
    report = {"modalities": ["image"], "task": "single_label", "teacher_apart": [], "splits": {"test": {"near_duplicates": near_test}}}
    return PreparedData(tmp_path, ["no", "yes"], [], report)


def test_accuracy_is_given_with_and_without_near_duplicates(data: PreparedData, tmp_path: Path) -> None:
    # of rows 1 to 7 four are right, two of these near duplicates: 4 of 7, and 2 of 5 without
    np.savez(tmp_path / "predictions.npz", rows=np.arange(1, 8), model_fp32=np.array([0, 0, 0, 0, 1, 1, 1], np.int16))
    assert score_apart(data, tmp_path / "predictions.npz", model="fp32") == (
        "Without the near duplicates fp32 has 40.0 % of 5 test rows, with them 57.1 % of 7."
    )


def test_accuracy_apart_needs_rows_of_both_sorts(data: PreparedData, tmp_path: Path) -> None:
    for rows in ([0, 1], [2, 3]):
        np.savez(tmp_path / "predictions.npz", rows=np.array(rows), model_fp32=np.zeros(2, np.int16))
        assert score_apart(data, tmp_path / "predictions.npz", model="fp32") is None


def test_pairs_are_shown_with_their_rows(data: PreparedData) -> None:
    (pair,) = show_near(data)
    assert (pair["test_row"], pair["train_row"]) == (11, 7) and pair["test"].startswith("<img") and pair["train"].startswith("<img")


def test_nothing_is_shown_of_data_that_was_not_looked_through(data: PreparedData) -> None:
    data.report["splits"]["test"]["near_duplicates"] = None
    assert show_near(data) == []
