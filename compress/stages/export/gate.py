"""The parity gate: two forms of one model, compared on the same real rows; it tells a fault of the exporter from rounding.

Where both forms are graphs, each layer is looked at by itself (compress/graphs/diverge.py): rounding then has a known size, whatever the
student is worth. Logits are compared over all rows as well: how far apart they are, which class is off on average, by which factor, and
whether sure decisions, such as the answer of a row, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from compress.device.tasks import single_label
from compress.errors import ParityError
from compress.graphs.diverge import Gap, compare_outputs
from compress.graphs.trace import Feeds
from compress.io_spec import SHARES
from compress.recipe.parity import Limits, Parity, RoundedLimits

MIN_SURE = 30  # decisions below which they say nothing
Decisions = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # see Task.decisions
STEPS = 1.05  # int8 steps: sums in another order push a value over the edge between two codes, and a finer grid rounds by 0.75 of one
NOISE = 4.0  # standard errors that a mean or a slope may be off by chance
DOUBTS = 3.0  # how many times as far apart as two runs of one form two forms may be: 0.9 to 2.3 were seen
ROW = 3.0  # times the distance of all rows that a single vector of length 1 may be off
LAYER_ROWS = 16  # rows on which every layer is looked at


class Gate:
    """Compares pairs of forms and keeps a record of each; a pair that differs raises ParityError.

    heads: of several, the logits and the decisions of each, which must pass by itself; shares: how many shares stand behind the logits, which
    must pass by themselves as well, the input with the largest being what they decide.
    """

    def __init__(
        self,
        parity: Parity,
        feeds: Feeds,
        *,
        decisions: Decisions,
        unit: bool = False,
        heads: Mapping[str, tuple[slice, Decisions]] | None = None,
        shares: int = 0,
    ) -> None:
        self.parity, self.feeds, self.unit = parity, feeds, unit  # unit: rows are vectors of length 1
        self.parts = {f"head {name}": part for name, part in (heads or {}).items()} or {"": (slice(None, -shares or None), decisions)}
        if shares:
            self.parts[SHARES] = (slice(-shares, None), partial(single_label.decisions, facts={}))
        self.few = {name: array[:LAYER_ROWS] for name, array in feeds.items()}
        self.records: list[dict[str, Any]] = []

    def compare(
        self,
        before: str,
        after: str,
        expected: np.ndarray,
        got: np.ndarray,
        *,
        kind: Literal["fp32", "fp16", "int8"],
        layers: Callable[[], list[Gap]] = list,
        blame: Callable[[], object] = str,
        doubt: float = 0.0,
    ) -> None:
        """Notes the distance of two arrays of logits (R, K), with the shares behind them, and of all `layers`.

        doubt: the distance between two runs of one and the same form that add sums in another order. A form may be a few times as far from
        the one before it, for that is the student's own, and layers tell.
        Raises: ParityError with everything that is wrong; where no layer is, with what `blame` finds.
        """
        limits = widen(getattr(self.parity, kind), doubt, rows=len(expected))
        compare_outputs(expected, got)  # of one shape and finite
        gaps = layers()
        of_layers = {
            "doubt": doubt or None,
            "layers": len(gaps) or None,
            "layer": max((g.off for g in gaps if g.off is not None), default=None),
            "steps": max((g.steps for g in gaps if g.steps is not None), default=None),
        }
        wrong = [fault for g in gaps if isinstance(limits, RoundedLimits) and (fault := g.fault(layer=limits.layer, steps=STEPS))]
        faults: list[str] = []
        for name, (part, decisions) in self.parts.items():
            found = measure(expected[:, part], got[:, part], limits, decisions=decisions)
            off = judge(found, limits, min_agreement=self.parity.min_agreement)
            if self.unit and name != SHARES:
                found["cosine"] = least_cosine(expected[:, part], got[:, part])
                off += judge_cosine(found["cosine"], limits)
            told = f"{after}, {name}" if name else after
            self.records.append({"from": before, "to": told, **found, **of_layers, "passed": not off + wrong})
            faults += [f"{name}: {fault}" if name else fault for fault in off]
        if faults or wrong:
            place = wrong[0] if wrong else blame()
            first = [f"first layer that diverges: {place}"] if place else []
            raise ParityError(f"parity: {before} -> {after} on {len(expected)} rows: {'; '.join(faults + first)}")


def widen(limits: Limits, doubt: float, *, rows: int) -> Limits:
    """The limits where a student's own logits move by `doubt` (a distance) without any cause; over the rows this averages out."""
    distance, bias = max(limits.distance, DOUBTS * doubt), max(limits.bias, NOISE * DOUBTS * doubt / rows**0.5)
    return limits.model_copy(update={"distance": distance, "bias": bias})


def least_cosine(expected: np.ndarray, got: np.ndarray) -> float:
    """The cosine of the two vectors of that row whose vectors lie furthest apart: (R, D) each."""
    a, b = expected.astype(np.float64), got.astype(np.float64)
    return float(((a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)).min())


def judge_cosine(cosine: float, limits: Limits) -> list[str]:
    """What is wrong with the row that turned most: of vectors of length 1, 1 - cosine is half of the squared distance."""
    least = 1 - (ROW * limits.distance) ** 2 / 2
    return [] if cosine >= least else [f"a row's vector has turned to a cosine of {cosine:.6f} (at least {least:.6f})"]


def measure(expected: np.ndarray, got: np.ndarray, limits: Limits, *, decisions: Decisions) -> dict[str, Any]:
    """How two arrays of logits (R, K) differ: {samples, distance, bias, gain, sure_rows, agreement}.

    With E expected, D the difference and m the root mean square of E: distance = ||D|| / ||E||; bias = max_K |mean_R D| / m;
    gain = max_K |slope - 1| of the best fit of a class, over the classes that vary so much that noise within the limit of the
    distance would leave their slope alone. A decision is sure where no logit that moves by what the limit allows, limits.distance * m,
    tips it. None: no class, or fewer than 30 decisions, can tell.
    """
    e = expected.astype(np.float64)
    d = got - e
    m = float(np.sqrt(np.mean(e**2))) or 1.0
    allowed = limits.distance * m
    varies = e - e.mean(0)
    spread = varies.std(0)  # (K,)
    counts = spread * limits.gain * np.sqrt(len(e)) > NOISE * allowed
    slopes = (varies * d).mean(0)[counts] / spread[counts] ** 2
    margins, decided = decisions(e)
    sure = margins > allowed
    same = decisions(got)[1] == decided
    return {
        "samples": len(e),
        "distance": float(np.sqrt(np.mean(d**2))) / m,
        "bias": float(np.abs(d.mean(0)).max()) / m,
        "gain": float(np.abs(slopes).max()) if counts.any() else None,
        "sure_rows": int(sure.sum()),
        "agreement": float(same[sure].mean()) if sure.sum() >= MIN_SURE else None,
    }


def judge(found: dict[str, Any], limits: Limits, *, min_agreement: float) -> list[str]:
    """What is wrong with a measured difference of logits, a few words each; nothing where it is rounding."""
    says = {
        "distance": "||difference|| / ||logits|| is {:.2e} (at most {:g})",
        "bias": "a class is off by {:.2e} of the logits' size on average (at most {:g})",
        "gain": "a class's logits are scaled by 1 +- {:.2e} (at most {:g})",
    }
    faults = [text.format(found[key], getattr(limits, key)) for key, text in says.items() if (found[key] or 0) > getattr(limits, key)]
    agreement = found["agreement"]
    if agreement is None:
        return [f"{fault}; the answers have no say, {found['sure_rows']} of them are sure" for fault in faults[:1]] + faults[1:]
    if agreement < min_agreement:
        faults.append(f"the answer stays on {100 * agreement:.2f} % of {found['sure_rows']} sure rows (at least {100 * min_agreement:g} %)")
    return faults
