"""Durations of functions that take turns, until they are known as well as asked, and the intervals of their medians and ratios."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import DeviceError

FEWEST = 10  # timed rounds of a function that is slow
PILOT = 20  # timed rounds that tell how many are needed
MOST_WARM = 10  # times the rounds of warm-up that were asked, after which the clock starts anyway
FALLING = -2.326  # z of Mann and Kendall's test, one-sided at 1 %: a function that still gets faster
LONG = 50_000_000  # nanoseconds: caches of tens of MB fill again within some of them
NOISY = 0.25  # spread of the reference from which on a machine is told to be noisy


@dataclass(frozen=True)
class Effort:
    """How long functions are timed.

    rounds: at most. warmup: untimed rounds, at least; they go on while a function still gets faster, up to MOST_WARM times as many.
    limit_s: seconds after which a function sits out what is left, once it has FEWEST rounds; a tenth of it ends its warm-up.
    precision: half the width of a 95 % interval over its middle, wanted of each median and of each ratio. After PILOT rounds each function
    is told how many it takes: PILOT (half width then / precision)^2, at least PILOT. It is told once: an interval that is looked at again and
    again until it is narrow holds the truth less often than it says (in 92 % of simulated runs; in 93.5 to 95 % this way). None: `rounds`.
    """

    rounds: int
    warmup: int = 20
    limit_s: float | None = None
    precision: float | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.warmup < 0:
            raise DeviceError(f"rounds is {self.rounds} and warmup {self.warmup}; give at least 1 round and no negative warm-up")


@dataclass(frozen=True)
class Timings:
    """ns: durations by name, (rounds,) int64 nanoseconds. warmup: untimed rounds. steady: whether no function got faster any more when the
    clock started. ended: why each function has no more rounds: `rounds`, `time` or `precision`. reference: durations of a small sort of
    this process, (rounds,), whose spread tells a noisy machine from a quiet one."""

    ns: dict[str, np.ndarray]
    warmup: int = 0
    steady: bool = True
    ended: dict[str, str] = field(default_factory=dict)
    reference: np.ndarray = field(default_factory=lambda: np.ones(1, np.int64))

    @property
    def noise(self) -> float:
        """Spread of the reference: its 90th less its 10th percentile, over its median."""
        low, middle, high = np.percentile(self.reference, [10, 50, 90])
        return float((high - low) / middle)

    def to_json(self) -> dict[str, Any]:
        """What belongs beside the figures: how it was timed, and how quiet the machine was."""
        return {"warmup": self.warmup, "steady": self.steady, "noise": self.noise, "noisy": self.noise > NOISY}


def time_calls(
    functions: dict[str, Callable[[], None]], effort: Effort, *, ratios: Sequence[tuple[str, str]] = (), seed: int = 0
) -> Timings:
    """Durations of the functions' calls; `ratios` are pairs of names of which a ratio is wanted.

    Each round goes through all functions in an order of its own, so that a drift of the clock or the load meets all of them alike.
    A function is called twice and the second call is timed: the first one brings back into the caches what its neighbour pushed out, as
    a model that answers again and again finds it. (A model of 1 MB took twice its time right after one of 100 MB.) A function that takes
    LONG or more in its warm-up is called once, for what the caches win back is nothing beside it.
    Garbage is collected before, not during the timed rounds.
    """
    if not functions:
        return Timings({})
    order = np.random.default_rng(seed)
    names, limit = list(functions), (effort.limit_s or math.inf) * 1e9  # nanoseconds
    found: dict[str, list[int]] = {name: [] for name in names}
    warm: dict[str, list[int]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0)  # nanoseconds, of all calls
    ended: dict[str, str] = {}
    long: set[str] = set()
    reference: list[int] = []
    scratch = np.random.default_rng(0).random(1024)
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()

    def go(times: dict[str, list[int]], sitting_out: Callable[[str], bool]) -> None:
        for name in order.permutation(names).tolist():
            if not sitting_out(name):
                began = time.perf_counter_ns()
                if name not in long:
                    functions[name]()
                start = time.perf_counter_ns()
                functions[name]()
                end = time.perf_counter_ns()
                spent[name] += end - began
                times[name].append(end - start)

    try:
        rounds = 0
        while rounds < effort.warmup or (rounds < MOST_WARM * effort.warmup and any(map(_falls, warm.values()))):
            go(warm, lambda name: spent[name] > limit / 10)
            rounds += 1
        steady = not any(map(_falls, warm.values()))
        long |= {name for name, durations in warm.items() if durations and np.median(durations) >= LONG}
        needed = dict.fromkeys(names, effort.rounds)
        while len(ended) < len(names):
            go(found, lambda name: name in ended)
            start = time.perf_counter_ns()
            np.sort(scratch)
            reference.append(time.perf_counter_ns() - start)
            if len(reference) == PILOT and effort.precision:
                needed = {name: min(effort.rounds, _needed(name, found, ratios, effort.precision)) for name in names}
            for name, durations in found.items():
                if len(durations) >= needed[name]:
                    ended.setdefault(name, "rounds" if needed[name] == effort.rounds else "precision")
                elif spent[name] > limit and len(durations) >= FEWEST:
                    ended.setdefault(name, "time")
    finally:
        if was_enabled:
            gc.enable()
    return Timings(
        ns={name: np.array(durations, np.int64) for name, durations in found.items()},
        warmup=rounds,
        steady=steady,
        ended={name: ended[name] for name in names},
        reference=np.array(reference, np.int64),
    )


def _falls(durations: list[int]) -> bool:
    """Whether the latest FEWEST durations still fall, by the test of Mann (1945) and Kendall on the order of all pairs."""
    latest = np.array(durations[-FEWEST:])
    n = len(latest)
    if n < FEWEST:
        return False
    score = int(sum(np.sign(latest[i + 1 :] - latest[i]).sum() for i in range(n - 1)))
    return score / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) < FALLING


def _needed(name: str, found: dict[str, list[int]], ratios: Sequence[tuple[str, str]], precision: float) -> int:
    """Rounds after which the median, and each ratio that the function is part of, should be known as well as asked."""
    samples = [np.array(found[name], np.float64)]
    for pair in ratios:
        if name in pair:
            both = min(len(found[one]) for one in pair)
            over, under = (np.array(found[one][:both], np.float64) for one in pair)
            samples.append(over / under)
    rounds = PILOT
    for values in samples:
        middle, low, high = median_interval(values)
        rounds = max(rounds, math.ceil(len(values) * ((high - low) / 2 / middle / precision) ** 2))
    return rounds


def median_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """(median, low, high) of independent values (n,), with an interval that assumes no distribution; where n is too small for its level,
    low and high are the smallest and the largest value, which hold the median with probability 1 - 2^(1-n).

    *Formula*: order statistics x(k) and x(n-k+1) hold the median with the probability P(k <= B <= n-k), B ~ Binomial(n, 1/2). Between the
    widest k that holds it less often than `level` and the next, the ends are interpolated as Hettmansperger and Sheather (1986) say, so
    that the interval is neither wider nor narrower than its level asks.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if not n:
        raise DeviceError("no values; time at least one round")
    log_share = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(n // 2 + 1)]
    below = np.cumsum(np.exp(log_share))  # P(B <= k)
    holds = 1 - 2 * below  # [k - 1]: of x(k) and x(n-k+1)
    k = int((holds >= level).sum())
    if k == 0:
        return float(np.median(ordered)), float(ordered[0]), float(ordered[-1])
    share = (holds[k - 1] - level) / (holds[k - 1] - (holds[k] if k < len(holds) else 0.0))
    weight = (n - k) * share / (k + (n - 2 * k) * share)
    low = (1 - weight) * ordered[k - 1] + weight * ordered[k]
    high = (1 - weight) * ordered[n - k] + weight * ordered[n - k - 1]
    return float(np.median(ordered)), float(low), float(high)


def summarise(ns: np.ndarray) -> dict[str, Any]:
    """median_ms, p50 to p99, mean_ms, low_ms, high_ms and rounds of durations (rounds,) in nanoseconds; low and high as `median_interval` has them.

    p99_ms is None under 100 rounds, of which it would be the largest."""
    median, low, high = median_interval(np.asarray(ns, np.float64) / 1e6)  # ms
    p90, p95, p99 = np.percentile(np.asarray(ns, np.float64) / 1e6, [90, 95, 99])
    return {
        "median_ms": median,
        "p90_ms": float(p90),
        "p95_ms": float(p95),
        "p99_ms": float(p99) if len(ns) >= 100 else None,
        "mean_ms": float(np.mean(ns)) / 1e6,
        "low_ms": low,
        "high_ms": high,
        "rounds": len(ns),
    }


def ratio_interval(over: np.ndarray, under: np.ndarray, *, level: float = 0.95) -> dict[str, Any]:
    """{value, low, high, unit, rounds} of the median of over / under, taken round by round: (rounds,) each, > 0, of the same unit; one that has more
    rounds gives the first.

    A round's calls share the machine's mood (clock, neighbours), so their ratio varies less than the ratio of two medians."""
    both = min(len(over), len(under))
    value, low, high = median_interval(np.asarray(over[:both], np.float64) / np.asarray(under[:both], np.float64), level=level)
    return {"value": value, "low": low, "high": high, "unit": "ratio", "rounds": both}
