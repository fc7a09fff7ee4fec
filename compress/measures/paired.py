"""Paired comparison of two models that answered the same rows: only the rows that one of them answers better tell them apart.

`compare_paired` gives difference, interval, p and verdict as data (`Paired`); `which_ships` is the law that follows from them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compress.measures.metrics import Z_95

LEVEL = 0.05  # a difference that chance makes in fewer than this share of such comparisons is shown
DRAWS = 10_000  # half-samples of the clusters
MOST = 4_000  # clusters that are drawn one by one where their gains are numbers: a second


@dataclass(frozen=True)
class Paired:
    """Model a against model b on the same rows, in points (percent of the rows, or of a row's gain): positive where a is better."""

    difference: float
    low: float  # of the 95 % interval
    high: float
    a_only: int  # rows that a alone has right, or answers better
    b_only: int
    p: float  # two-sided: how often models that do not differ would seem to differ this much
    samples: int  # rows
    clusters: int | None  # groups of rows that were drawn together; None: each row is its own
    method: str
    margin: float | None = None  # points within which the caller takes two models for the same

    @property
    def shown(self) -> bool:
        """Whether chance is a poor reason for the difference."""
        return self.p < LEVEL

    @property
    def negligible(self) -> bool:
        """Whether the whole interval lies within the caller's margin."""
        return self.margin is not None and -self.margin < self.low and self.high < self.margin

    @property
    def verdict(self) -> str:
        """ "better" or "worse" (a than b) where shown; "the same within x points" where the interval says so; else "not shown"."""
        if self.shown:
            return "better" if self.difference > 0 else "worse"
        return f"the same within {self.margin:g} points" if self.negligible else "not shown"

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the verdict."""
        return {**asdict(self), "unit": "points", "verdict": self.verdict}


def show_interval(paired: dict[str, Any]) -> str:
    """The difference of `Paired.to_json` with its interval: "+2.30 points (+0.75 to +3.98)"."""
    return f"{paired['difference']:+.2f} points ({paired['low']:+.2f} to {paired['high']:+.2f})"


def describe_paired(paired: dict[str, Any]) -> str:
    """All numbers of `Paired.to_json` in words: the interval, the rows that one model answers better, and p."""
    among = f" in {paired['clusters']:,} groups" if paired["clusters"] else ""
    rows = f"{paired['a_only']:,} rows against {paired['b_only']:,} of {paired['samples']:,}{among}"
    return f"{show_interval(paired)}, {rows}, {show_p(paired['p'])}"


def show_p(p: float) -> str:
    """ "p 0.03", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}"


def compare_paired(
    gains_a: np.ndarray, gains_b: np.ndarray, *, clusters: np.ndarray | None = None, margin: float | None = None, seed: int = 0
) -> Paired:
    """How model a differs from model b, from which rows each has right, or from how good each answer is.

    Right or wrong, and rows that stand for themselves: the exact McNemar test and Tango's interval. Rows that share an input or a group
    are one draw of luck: half-samples of the clusters, as of rows whose answers are more or less good. Shapes: gains_a, gains_b (R,) bool
    or float; clusters (R,) int, rows of equal number belong together. Raises ValueError without rows.
    """
    a, b = np.asarray(gains_a), np.asarray(gains_b)
    if not len(a):
        raise ValueError("no rows to compare two models on")
    if a.dtype != bool or b.dtype != bool:
        return _compare_gains(a.astype(np.float64), b.astype(np.float64), clusters, margin=margin, seed=seed)
    won, lost = int((a & ~b).sum()), int((b & ~a).sum())
    _, group = np.unique(np.arange(len(a)) if clusters is None else clusters, return_inverse=True)
    sizes = np.bincount(group)  # (G,)
    if len(sizes) == len(a):
        low, high = tango_interval(won, lost, len(a))
        p, method, groups = mcnemar(won, lost), "exact McNemar test, Tango's interval", None
    else:
        net = np.rint(np.bincount(group, weights=a.astype(np.int8) - b.astype(np.int8))).astype(np.int64)  # (G,)
        low, high, p = resample_clusters(net, sizes, seed=seed)
        method, groups = "half-sample bootstrap over the groups", len(sizes)
    difference = (won - lost) / len(a)
    return Paired(100 * difference, 100 * low, 100 * high, won, lost, p, len(a), groups, method, margin)


def _compare_gains(a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None, *, margin: float | None, seed: int) -> Paired:
    """`compare_paired` of gains that are numbers, such as 1 less an absolute error."""
    _, group = np.unique(np.arange(len(a)) if clusters is None else clusters, return_inverse=True)
    sizes = np.bincount(group)  # (G,)
    low, high, p = resample_gains(np.bincount(group, weights=a - b), sizes, seed=seed)
    groups, method = None if len(sizes) == len(a) else len(sizes), "half-sample bootstrap of the differences"
    better = int((a > b).sum()), int((a < b).sum())
    return Paired(100 * float((a - b).mean()), 100 * low, 100 * high, *better, p, len(a), groups, method, margin)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p of `won` against `lost` discordant rows, each as likely as a coin's sides; 1 where there are none."""
    from scipy.stats import binomtest  # a second, and the benchmark's own process needs none of it

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def tango_interval(won: float, lost: float, rows: float) -> tuple[float, float]:
    """95 % interval of the difference of two paired shares, (won - lost) / rows: the d with |won - lost - rows d| - 1 <= z sd(d).

    sd(d)^2 = rows (2 q + d - d^2), q the likeliest share of rows that b alone has right if the difference is d. At d = 0 this is
    McNemar's test with continuity correction, so that interval and exact test agree; the correction makes it conservative.
    Source: Tango 1998, Statistics in Medicine 17, 891 to 908."""
    return _tango_low(won, lost, rows), -_tango_low(lost, won, rows)


def _tango_low(won: float, lost: float, rows: float) -> float:
    from scipy.optimize import brentq

    def excess(d: float) -> float:
        linear = (2 * rows - won + lost) * d - won - lost
        q = (math.sqrt(max(0.0, linear**2 + 8 * rows * lost * d * (1 - d))) - linear) / (4 * rows)
        return won - lost - rows * d - 1 - Z_95 * math.sqrt(max(0.0, rows * (2 * q + d * (1 - d))))

    return float(brentq(excess, -1, (won - lost) / rows)) if excess(-1) > 0 else -1.0


def resample_clusters(net: np.ndarray, sizes: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """(low, high, p) of sum(net) / sum(sizes), from the differences of random halves of the clusters.

    A bootstrap whose weights are 0 or 2, one coin a cluster, so with the mean and the variance of the usual weights. Half the clusters
    lie beyond zero just as often as a random swap of the two models, cluster by cluster, gives a difference as large; so p holds for
    any number of clusters, and is McNemar's where each holds one row. Source: Hartigan 1969, Journal of the American Statistical
    Association 64, 1303 to 1317. Few discordant clusters say little of the rest, so the interval takes in Tango's of as many
    independent rows as would vary as much, but for an end at zero where p shows a difference.
    Shapes: net (G,) int, rows that a alone has right less those that b alone has right; sizes (G,) int rows."""
    kinds, counts = np.unique(np.stack([net, sizes], 1), axis=0, return_counts=True)  # equal clusters are drawn together
    halves = np.random.default_rng(seed).binomial(counts, 0.5, size=(draws, len(counts))) @ kinds  # (draws, 2): net and rows
    total = int(net.sum())
    p = min(1.0, 2 * (int((np.sign(total) * halves[:, 0] <= 0).sum()) + 1) / (draws + 1))
    ratios, empty = halves[:, 0] / np.maximum(halves[:, 1], 1), halves[:, 1] == 0
    low, high = np.percentile(np.where(empty, -1, ratios), 2.5), np.percentile(np.where(empty, 1, ratios), 97.5)
    wide = _independent_interval(net, sizes)
    low = low if p < LEVEL and total > 0 else min(low, wide[0])
    high = high if p < LEVEL and total < 0 else max(high, wide[1])
    return float(low), float(high), p


def resample_gains(net: np.ndarray, sizes: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """(low, high, p) of sum(net) / sum(sizes) as `resample_clusters` has them, where the net gain of a cluster is any number.

    Clusters that are equal on both sides take no part in p. The interval is widened by what Student's t asks for few clusters; more
    than MOST of them are drawn in so many bundles, which leaves their variance as it is. Shapes: net (G,) float, sizes (G,) int rows."""
    from scipy.stats import t

    draw, clusters = np.random.default_rng(seed), len(net)
    if clusters > MOST:
        bundle = draw.integers(MOST, size=clusters)
        net, sizes = np.bincount(bundle, net, MOST), np.bincount(bundle, sizes, MOST)
    both = np.stack([net, sizes], 1)
    halves = np.concatenate([draw.integers(2, size=(block, len(net)), dtype=np.int8) @ both for block in _blocks(draws, len(net))])
    total, spread = float(net.sum()), 1e-9 * float(np.abs(net).sum())
    p = 1.0 if abs(total) <= spread else min(1.0, 2 * (int((np.sign(total) * halves[:, 0] <= spread).sum()) + 1) / (draws + 1))
    ratios = halves[:, 0] / np.maximum(halves[:, 1], 1)
    middle = total / float(sizes.sum())
    wide = float(t.ppf(0.975, max(1, clusters - 1))) / Z_95 * (clusters / max(1, clusters - 1)) ** 0.5
    low, high = (middle + wide * (end - middle) for end in np.percentile(ratios[halves[:, 1] > 0], [2.5, 97.5]))
    return float(low), float(high), p


def _blocks(draws: int, width: int) -> list[int]:
    """Sizes of the blocks in which `draws` lines of `width` coins are drawn, 32 MB each as floats."""
    block = max(1, 2**22 // width)
    return [min(block, draws - start) for start in range(0, draws, block)]


def _independent_interval(net: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Tango's interval of rows / moved rows, `moved` being how many rows luck moves at once, as the discordant clusters have it.

    One cluster in which the root of its rows moved is added: having seen no move does not say that rows would move one by one."""
    rows = sizes.sum()
    typical = (sizes**2).sum() / rows  # rows of the cluster that a row lies in
    moved = float(((net**2).sum() + typical) / (np.abs(net).sum() + typical**0.5))
    return tango_interval(net[net > 0].sum() / moved, -net[net < 0].sum() / moved, rows / moved)


def deciding(*comparisons: Paired) -> Paired | None:
    """The comparison that settles which of two models is better: the first that shows a difference, those within the margin last."""
    return next(iter(sorted((paired for paired in comparisons if paired.shown), key=lambda paired: paired.negligible)), None)


def which_ships(favourite: str, other: str, *comparisons: Paired) -> tuple[str, str]:
    """Which of two models ships, and why: none that its validation knows to be worse than another that is there.

    `comparisons` are the favourite (a) against the other (b), the weightiest first. Where none shows a difference the favourite ships,
    and the reason does not say that the two are the same."""
    settled = deciding(*comparisons)
    if settled is None:
        return favourite, f"{favourite} ships, which is not shown to be worse"
    winner = favourite if settled.verdict == "better" else other
    return winner, f"{winner} ships, which is shown to be better ({show_p(settled.p)})"
