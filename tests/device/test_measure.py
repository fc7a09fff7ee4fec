"""Interleaved timing and its summary."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import numpy as np
import pytest

from compress.device import measure
from compress.device.contents import read_bundle
from compress.device.errors import DeviceError
from compress.device.measure import bench, summarise, time_calls


def test_calls_are_interleaved_and_start_with_another_each_round() -> None:
    seen: list[str] = []
    times = time_calls({name: (lambda name=name: seen.append(name)) for name in "abc"}, rounds=3, warmup=0)
    assert "".join(seen) == "aabbcc" + "bbccaa" + "ccaabb"  # twice, and only the second call is timed
    assert {name: ns.shape for name, ns in times.items()} == dict.fromkeys("abc", (3,))


def test_warmup_calls_are_not_counted() -> None:
    seen: list[str] = []
    times = time_calls({"a": lambda: seen.append("a")}, rounds=2, warmup=5)
    assert (len(seen), len(times["a"])) == (14, 2)


def test_first_call_of_a_round_is_not_timed() -> None:
    calls = iter([lambda: time.sleep(0.05), lambda: None] * 3)
    times = time_calls({"a": lambda: next(calls)()}, rounds=3, warmup=0)
    assert times["a"].max() < 0.05e9


def test_slower_call_takes_longer() -> None:
    times = time_calls({"slow": lambda: sum(range(100_000)), "fast": lambda: sum(range(100))}, rounds=9, warmup=1)
    assert np.median(times["slow"]) > 10 * np.median(times["fast"])


def test_slow_function_has_fewer_rounds_and_the_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0]
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: clock[0])

    def takes(seconds: float):
        return lambda: clock.__setitem__(0, clock[0] + int(seconds * 1e9))

    calls = {"fast": takes(0.001), "slow": takes(1), "slower": takes(50)}
    times = time_calls(calls, rounds=100, warmup=20, limit_s=60)
    # two calls a round; warm-up ends above 6 s, after 4 rounds of "slow" (8 s); above 60 s after 27 more; "slower" has FEWEST
    assert {name: len(ns) for name, ns in times.items()} == {"fast": 100, "slow": 27, "slower": 10}
    assert set(times["slower"].tolist()) == {50_000_000_000}


def test_garbage_collection_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        time_calls({"a": lambda: 1 / 0}, rounds=1, warmup=0)  # type: ignore[dict-item]
    assert gc.isenabled()


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 1), (1, -1)])
def test_calls_need_a_round(rounds: int, warmup: int) -> None:
    with pytest.raises(DeviceError, match=f"rounds is {rounds} and warmup {warmup}"):
        time_calls({}, rounds=rounds, warmup=warmup)


def test_summary_of_known_durations() -> None:
    # 1 to 100 ms: median 50.5, mean 50.5, 95th percentile 1 + 0.95 * 99; ranks 50 -+ 0.98 * 10, the 40th and the 61st value
    summary = summarise(np.arange(100, 0, -1) * 1_000_000)
    assert summary == {"median_ms": 50.5, "p95_ms": 95.05, "mean_ms": 50.5, "low_ms": 40.0, "high_ms": 61.0, "rounds": 100}


def test_summary_interval_holds_the_true_median_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    summaries = [summarise(rng.lognormal(size=60) * 1e6) for _ in range(1000)]  # true median 1 ms
    share = np.mean([summary["low_ms"] <= 1 <= summary["high_ms"] for summary in summaries])
    assert 0.94 <= share <= 0.99


def test_summary_of_one_round_is_that_round() -> None:
    assert summarise(np.array([2_000_000])) == dict.fromkeys(["median_ms", "p95_ms", "mean_ms", "low_ms", "high_ms"], 2.0) | {"rounds": 1}


def test_summary_needs_durations() -> None:
    with pytest.raises(DeviceError, match="no durations"):
        summarise(np.array([]))


OPTIONS = {"rounds": 5, "warmup": 1, "threads": 1, "runtime": "onnxruntime_cpu"}


def test_bench_writes_every_model_and_batch(bundle: Path) -> None:
    opened = read_bundle(bundle)
    result = bench(opened, list(opened.models), batches=[1, 32], **OPTIONS)
    assert json.loads((bundle / "measurements.json").read_text()) == result
    lines = {(line["model"], line["batch"]): line for line in result["measurements"]}
    assert list(lines) == [("fp32", 1), ("int8_qat", 1), ("fp32", 32), ("int8_qat", 32)]
    assert all(0 < line["low_ms"] <= line["median_ms"] <= line["high_ms"] for line in lines.values())
    assert result["bundle"] == opened.identity
    assert result["device"]["name"] and result["runtime"]["version"].startswith("onnxruntime ")
    assert set(result["sensors"]) == {"before", "after"}


@pytest.mark.parametrize("batch", [0, 33])
def test_bench_refuses_a_batch_that_the_model_does_not_take(bundle: Path, batch: int) -> None:
    opened = read_bundle(bundle)
    with pytest.raises(DeviceError, match=f"batch {batch} is outside 1 to 32"):
        bench(opened, list(opened.models), batches=[batch], **OPTIONS)


def test_bench_names_a_place_that_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    opened = read_bundle(bundle)
    with pytest.raises(DeviceError, match="cannot be written .*--out"):
        bench(opened, list(opened.models), batches=[1], out=tmp_path / "none" / "x.json", **OPTIONS)
