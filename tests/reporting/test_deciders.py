"""Means, intervals and row counts of what the answers lose without each input."""

from __future__ import annotations

import numpy as np
import pytest

from compress.device.tasks import Explained
from compress.reporting.deciders import show_contributions, show_deciders, show_gradients


def test_means_are_in_points_with_an_interval_and_rows_that_say_nothing_left_out() -> None:
    found = show_deciders({"teacher": {"image": np.array([0.2, 0.4, np.nan]), "text": np.array([0.0, 0.0, 0.0])}, "fp32": {}})
    assert found is not None
    assert found["bars"] == {"teacher: image": pytest.approx(30.0), "teacher: text": 0.0}
    # deviation of 20 and 40: 14.14; 1.96 * 14.14 / sqrt(2) = 19.6
    assert found["rows"][0] == {"model": "teacher", "input": "image", "points": "30.0 ± 19.6", "rows": 2}
    assert "mean over 3 test rows" in found["note"]


def test_gradients_say_steps_error_and_what_has_none() -> None:
    values = {"student": {"image": np.array([0.25, 0.75]), "text": np.array([np.nan, np.nan])}}
    found = show_gradients(values, steps=32, others=4, error=0.0123, skipped="The teacher has none.")
    assert found is not None and found["bars"] == {"student: image": pytest.approx(50.0)}
    assert "in 32 steps" in found["note"] and "mean of 4 training rows" in found["note"] and "at most 1.23." in found["note"]
    assert "mean over 2 test rows" in found["note"] and found["note"].endswith("The teacher has none.")


def test_numbers_are_told_by_size_in_their_own_unit_and_heads_by_name() -> None:
    price = Explained("price", None, unit="the data's unit", head="shop")
    found = show_deciders({"teacher": {"image": np.array([-3.0, 1.0])}}, of=price)
    assert found is not None and found["title"] == "Which input decided: shop, price" and found["bars"] == {"teacher: image": 2.0}
    assert "loses of price, in the data's unit, when" in found["note"] and found["note"].endswith("so the mean is of sizes.")
    told = show_gradients({"student": {"image": np.array([0.5])}}, steps=32, others=4, error=0.25, of=price._replace(head=""))
    assert told is not None and told["title"].endswith(": price") and "at most 0.25." in told["note"]
    tags = Explained("the mean probability of its tags", None, head="tags")
    named = show_deciders({"teacher": {"image": np.array([0.5])}}, of=tags)
    assert named is not None and named["title"] == "Which input decided: tags" and named["bars"] == {"teacher: image": 50.0}


def test_contributions_say_what_they_are_read_from() -> None:
    found = show_contributions({"student": {"image": np.array([0.6]), "text": np.array([0.4])}}, kind="gates")
    assert (
        found is not None
        and found["title"].endswith("gates")
        and found["bars"]
        == {
            "student: image": pytest.approx(60.0),
            "student: text": pytest.approx(40.0),
        }
    )


def test_nothing_is_shown_where_nothing_was_weighed() -> None:
    assert show_deciders({"teacher": {}, "fp32": {"image": np.array([np.nan])}}) is None
