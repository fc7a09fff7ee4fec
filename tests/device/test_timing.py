"""Timing in turns, on a clock that the tests hold: order, warm-up, when enough is enough; and what its intervals are worth."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from compress.device import timing
from compress.device.errors import DeviceError
from compress.device.timing import Effort, Timings, median_interval, ratio_interval, summarise, time_calls

MS = 1_000_000  # nanoseconds


class Clock:
    """A clock that only moves while a function runs."""

    def __init__(self) -> None:
        self.now = 0

    def takes(self, durations: Iterator[float]) -> Callable[[], None]:
        """A function whose calls take these many ms, one after the other."""

        def call() -> None:
            self.now += round(next(durations) * MS)

        return call

    def always(self, ms: float) -> Callable[[], None]:
        return self.takes(iter(lambda: ms, None))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    held = Clock()
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: held.now)
    monkeypatch.setattr(Timings, "noise", property(lambda self: 0.0))  # the reference takes no time on this clock
    return held


def jitter(ms: float, spread: float, seed: int) -> Iterator[float]:
    draw = np.random.default_rng(seed)
    while True:
        yield ms * draw.lognormal(0, spread)


def test_each_round_goes_through_all_functions_twice_and_in_an_order_of_its_own() -> None:
    seen: list[str] = []
    timed = time_calls({name: (lambda name=name: seen.append(name)) for name in "abc"}, Effort(rounds=20, warmup=0))
    rounds = ["".join(seen[start : start + 6]) for start in range(0, 120, 6)]
    assert {"".join(sorted(text)) for text in rounds} == {"aabbcc"} and all(text[0::2] == text[1::2] for text in rounds)
    assert len({text[0] for text in rounds}) == 3
    assert {name: ns.shape for name, ns in timed.ns.items()} == dict.fromkeys("abc", (20,))


def test_second_call_alone_is_timed(clock: Clock) -> None:
    timed = time_calls({"a": clock.takes(iter([50, 1] * 3))}, Effort(rounds=3, warmup=0))
    assert timed.ns["a"].tolist() == [MS] * 3


def test_slower_call_takes_longer() -> None:
    timed = time_calls({"slow": lambda: sum(range(100_000)), "fast": lambda: sum(range(100))}, Effort(rounds=9, warmup=1))
    assert np.median(timed.ns["slow"]) > 10 * np.median(timed.ns["fast"])
    assert timed.noise >= 0 and set(timed.to_json()) == {"warmup", "steady", "noise", "noisy"}


def test_warm_up_goes_on_while_a_function_gets_faster(clock: Clock) -> None:
    falling = iter([ms for ms in range(40, 10, -1) for _ in range(2)] + [10] * 1000)  # 30 rounds until it is as fast as it gets
    timed = time_calls({"a": clock.takes(falling), "b": clock.always(5)}, Effort(rounds=10, warmup=10))
    assert timed.steady and 30 < timed.warmup <= 40 and set(timed.ns["a"].tolist()) == {10 * MS}


def test_warm_up_that_never_ends_is_told(clock: Clock) -> None:
    timed = time_calls({"a": clock.takes(iter(np.linspace(1000, 1, 400).repeat(2)))}, Effort(rounds=10, warmup=10))
    assert (timed.warmup, timed.steady) == (100, False)


def test_slow_function_has_fewer_rounds_and_the_others_have_theirs(clock: Clock) -> None:
    calls = {"fast": clock.always(1), "slow": clock.always(1000), "slower": clock.always(50_000)}
    timed = time_calls(calls, Effort(rounds=100, warmup=20, limit_s=60))
    # warm-up, of two calls a round, ends above 6 s, after 4 rounds of "slow" (8 s); above 60 s after 53 calls more; "slower" has FEWEST
    assert {name: len(ns) for name, ns in timed.ns.items()} == {"fast": 100, "slow": 53, "slower": 10}
    assert timed.ended == {"fast": "rounds", "slow": "time", "slower": "time"}


def test_function_has_enough_rounds_once_it_is_known_as_well_as_asked(clock: Clock) -> None:
    calls = {"still": clock.always(3), "restless": clock.takes(jitter(3, 0.05, seed=1)), "wild": clock.takes(jitter(3, 0.8, seed=2))}
    timed = time_calls(calls, Effort(rounds=300, warmup=0, precision=0.02))
    # of n normal values the median's 95 % interval is +- 1.96 * 1.25 * spread / sqrt(n): 0.02 at a spread of 0.05 takes some 38 rounds
    assert len(timed.ns["still"]) == timing.PILOT < len(timed.ns["restless"]) < 120 < len(timed.ns["wild"]) == 300
    assert timed.ended == {"still": "precision", "restless": "precision", "wild": "rounds"}


def test_function_goes_on_for_the_sake_of_its_ratio(clock: Clock) -> None:
    calls = {"still": clock.always(3), "restless": clock.takes(jitter(3, 0.05, seed=1))}
    timed = time_calls(calls, Effort(rounds=300, warmup=0, precision=0.02), ratios=[("still", "restless")])
    assert len(timed.ns["still"]) > timing.PILOT


def test_garbage_collection_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        time_calls({"a": lambda: 1 / 0}, Effort(rounds=1, warmup=0))  # type: ignore[dict-item]
    assert gc.isenabled()


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 1), (1, -1)])
def test_calls_need_a_round(rounds: int, warmup: int) -> None:
    with pytest.raises(DeviceError, match=f"rounds is {rounds} and warmup {warmup}"):
        Effort(rounds, warmup)


def test_noisy_machine_is_told_from_a_quiet_one() -> None:
    quiet, noisy = np.array([100] * 90 + [130] * 10), np.array([100] * 80 + [130] * 20)
    assert Timings({}, reference=quiet).to_json()["noisy"] is False
    assert Timings({}, reference=noisy).to_json() == {"warmup": 0, "steady": True, "noise": pytest.approx(0.3), "noisy": True}


def test_interval_of_a_few_values_by_hand() -> None:
    # n = 6: x(1) and x(6) hold the median with 1 - 2/64 = 0.96875, x(2) and x(5) with 0.78125; 0.95 lies 0.1 of the way:
    # weight = 5 * 0.1 / (1 + 4 * 0.1) = 0.357142...
    assert median_interval(np.array([6, 1, 2, 5, 3, 4.0])) == pytest.approx((3.5, 1.3571428, 5.6428571))
    assert median_interval(np.array([3, 1, 2.0])) == (2, 1, 3)  # too few for 95 %: all of it, 75 %


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("rounds", [10, 20, 57, 200, 1000])
def test_interval_holds_the_true_median_as_often_as_it_says(rounds: int, level: float) -> None:
    draw, trials = np.random.default_rng(rounds), 2000
    ends = [median_interval(draw.lognormal(0, 0.5, rounds), level=level) for _ in range(trials)]  # true median 1
    assert np.mean([low <= 1 <= high for _, low, high in ends]) == pytest.approx(level, abs=0.015)


def test_interval_of_a_ratio_holds_the_truth_where_rounds_share_a_mood_and_end_with_precision(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)  # nothing is timed here, and it takes most of the time
    held, rounds = [], set()
    for seed in range(300):
        mood = np.random.default_rng(seed).lognormal(0, 0.3, 200).repeat(2)  # of a round: 35 % up and down, both functions alike
        draws = (iter(ms * mood * np.random.default_rng([seed, who]).lognormal(0, 0.05, 400)) for who, ms in enumerate((2.1, 2.0)))
        calls = dict(zip("ab", map(clock.takes, draws), strict=True))
        timed = time_calls(calls, Effort(rounds=200, warmup=0, precision=0.08), ratios=[("a", "b")])
        ratio = ratio_interval(timed.ns["a"], timed.ns["b"])
        held.append(ratio["low"] <= 1.05 <= ratio["high"])
        rounds.add(ratio["rounds"])
    assert 0.92 <= np.mean(held) <= 0.98 and len(rounds) > 20  # 300 draws of 95 %: two standard deviations are 2.5 points


def test_ratio_of_what_has_more_rounds_takes_the_first() -> None:
    found = ratio_interval(np.array([2, 2, 2, 2, 2, 2, 9, 9.0]), np.ones(6))
    assert found == {"value": 2.0, "low": 2.0, "high": 2.0, "unit": "ratio", "rounds": 6}


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_down_of_5_percent_is_found_and_one_of_nothing_is_not(clock: Clock, seed: int) -> None:
    calls = {
        name: clock.takes(jitter(ms, 0.06, seed=10 * seed + i)) for i, (name, ms) in enumerate({"old": 2, "new": 2.1, "same": 2}.items())
    }
    timed = time_calls(calls, Effort(rounds=200, warmup=0), seed=seed)
    slower, same = (ratio_interval(timed.ns[name], timed.ns["old"], level=0.99) for name in ("new", "same"))
    assert slower["low"] > 1 and same["low"] <= 1 <= same["high"]


def test_summary_of_known_durations() -> None:
    summary = summarise(np.arange(100, 0, -1) * MS)  # 1 to 100 ms
    assert {key: summary[key] for key in ("median_ms", "mean_ms", "rounds")} == {"median_ms": 50.5, "mean_ms": 50.5, "rounds": 100}
    assert (summary["p90_ms"], summary["p95_ms"], summary["p99_ms"]) == pytest.approx((90.1, 95.05, 99.01))
    assert summary["low_ms"] + summary["high_ms"] == pytest.approx(101) and 40 <= summary["low_ms"] < 41  # ranks 50 -+ 0.98 * 10


def test_summary_of_one_round_is_that_round() -> None:
    summary = summarise(np.array([2 * MS]))
    assert summary.pop("p99_ms") is None  # of fewer than 100 rounds
    assert summary.pop("rounds") == 1 and set(summary.values()) == {2.0}


def test_summary_needs_durations() -> None:
    with pytest.raises(DeviceError, match="time at least one round"):
        summarise(np.array([]))


def test_a_long_function_is_called_once_a_round_and_a_short_one_twice(clock: Clock) -> None:
    """Once the warm-up has told which is which: after its 2 rounds of two calls each, 5 rounds."""
    calls = {"long": 0, "short": 0}

    def counted(name: str, ms: float) -> Callable[[], None]:
        def call() -> None:
            calls[name] += 1
            clock.now += round(ms * MS)

        return call

    timed = time_calls({"long": counted("long", 80), "short": counted("short", 1)}, Effort(rounds=5, warmup=2))
    assert calls == {"long": 2 * 2 + 5, "short": 2 * 2 + 2 * 5}
    assert {name: ns.tolist() for name, ns in timed.ns.items()} == {"long": [80 * MS] * 5, "short": [MS] * 5}
