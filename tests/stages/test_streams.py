"""Several callers at once: how many, and that what is counted is what was answered."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compress.device.energy import Meter
from compress.stages.benchmark.streams import _describe, _slice, stream_counts


def test_streams_double_up_to_the_cores() -> None:
    assert [stream_counts(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.mark.parametrize("callers", [1, 4])
def test_answers_of_all_callers_are_added_up(tmp_path: Path, callers: int) -> None:
    """A call that waits 20 ms, which callers can do side by side: at most 50 a second each."""
    with ThreadPoolExecutor(callers) as pool:
        rate, joules = _slice([lambda: time.sleep(0.02)] * callers, 0.2, pool, Meter(tmp_path))
    assert 10 * callers < rate <= 50 * callers and joules is None


def test_a_line_says_spread_and_ratio_to_one_caller() -> None:
    told = _describe(2, [(180, 0.1), (200, 0.3), (190, 0.2)], [(100, None)] * 3)
    assert told["answers_per_s"] == {"value": 190, "unit": "1/s", "low": 180, "high": 200, "samples": 3}
    assert told["over_one"]["value"] == pytest.approx(1.9) and told["joules"]["value"] == pytest.approx(0.2)
