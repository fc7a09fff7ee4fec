"""Means, intervals and row counts of what the answers lose without each input."""

from __future__ import annotations

import numpy as np
import pytest

from compress.reporting.deciders import show_deciders


def test_means_are_in_points_with_an_interval_and_rows_that_say_nothing_left_out() -> None:
    found = show_deciders({"teacher": {"image": np.array([0.2, 0.4, np.nan]), "text": np.array([0.0, 0.0, 0.0])}, "fp32": {}})
    assert found is not None
    assert found["bars"] == {"teacher: image": pytest.approx(30.0), "teacher: text": 0.0}
    # deviation of 20 and 40: 14.14; 1.96 * 14.14 / sqrt(2) = 19.6
    assert found["rows"][0] == {"model": "teacher", "input": "image", "points": "30.0 ± 19.6", "rows": 2}
    assert "mean over 3 test rows" in found["note"]


def test_nothing_is_shown_where_nothing_was_weighed() -> None:
    assert show_deciders({"teacher": {}, "fp32": {"image": np.array([np.nan])}}) is None
