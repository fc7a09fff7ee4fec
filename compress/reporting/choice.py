"""Which student file ships: decided by measured latency, inside the budget, and said in one sentence with numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from compress.measures.paired import show_interval, show_p
from compress.recipe.sections import Budget
from compress.reporting.budgets import in_mb, latency_ratio, list_misses, measured

TRAINED = "int8_qat"
SIZE_TIE = 1.05  # files within 5 % of the smallest count as equally small


@dataclass(frozen=True)
class Choice:
    """The file that ships: its name among the measured models, and why; `verdicts` has a line for each other student."""

    name: str
    precision: str
    reason: str
    target: str
    measured: bool  # False: the target is another machine, so nothing was compared
    verdicts: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # students that lose too much or give no numbers: no device may choose them


def choose_precision(
    measurements: dict[str, Any], *, target: str, budget: Budget | None = None, max_drop_points: float | None = 0.5
) -> Choice:
    """The fastest student at batch 1 among those that are accurate enough and inside the budget.

    Accurate enough: all logits finite, and no loss of accuracy to the fp32 student that is both larger than `max_drop_points` (0.5
    where None) by estimate and shown by the rows that both answered (paired, p < 0.05). Either alone refuses nothing: with 50 rows one
    unlucky row is 2 points, and a loss that many rows show may be within what the recipe allows. A larger loss that is not shown is
    said with its interval, for it is no proof of equal files. Where no file can be compared, fp32 ships and the reason says why.
    Accuracy is that of the validation split where it was measured: the test split is for the report and decides nothing.
    Speed is the paired ratio to fp32; two whose 95 % intervals overlap are tied (fp32 is exactly 1), and ties go to the smaller
    file, then to the more accurate, but to one trained in int8 within a standard error of it (see compress/training/choice.py). If
    nothing is inside the budget, the budget is left out of the choice and the reason says so.
    """
    everyone = {name: m for name, m in measurements["models"].items() if m["role"] == "student"}
    students = {name: m for name, m in everyone.items() if m["target"] in (None, target)}
    base = next(name for name, m in students.items() if m["precision"] == "fp32")
    limit = 0.5 if max_drop_points is None else max_drop_points
    refused = tuple(name for name, m in everyone.items() if _lost(m, limit=limit))
    if target != measurements["target"]:
        reason = f"{base}, for {target} was not measured here (this machine is {measurements['target']}); choose again on the device"
        return Choice(base, "fp32", reason, target, False, refused=refused)
    verdicts = {name: _objection(m, limit=limit) for name, m in students.items()}
    usable = {name: m for name, m in students.items() if not verdicts[name]}
    if not usable:  # such as where batch 1 was not timed
        reason = f"{base}, for no file could be compared: " + "; ".join(f"{name} {verdict}" for name, verdict in verdicts.items())
        return Choice(base, "fp32", reason, target, False, verdicts, refused)
    misses = {name: list_misses(_budget_values(m, measurements), budget) for name, m in usable.items()}
    inside = {name: m for name, m in usable.items() if not misses[name]}
    best = _fastest(inside or usable)
    for name in usable:
        verdicts[name] = (
            "; ".join(misses[name]) if inside and misses[name] else _compare_speed(students[name]) + _doubt(usable[name], limit=limit)
        )
    chosen = students[best]
    verdicts.pop(best)
    others = "; ".join(f"{name} {verdict}" for name, verdict in verdicts.items() if name != base)
    reason = _describe(best, chosen, students[base]) + _doubt(chosen, limit=limit) + (f"; {others}" if others else "")
    if not inside:
        reason += f"; no file is inside the budget ({'; '.join(misses[best])})"
    return Choice(best, chosen["precision"], reason, target, True, verdicts, refused)


def quality(model: dict[str, Any]) -> dict[str, Any]:
    """The accuracy that decides: on validation, or on the test split where validation was not scored."""
    return model.get("validation") or model["accuracy"]


def _budget_values(model: dict[str, Any], measurements: dict[str, Any]) -> dict[str, float | None]:
    teacher = next(m for m in measurements["models"].values() if m["role"] == "teacher")
    latency, known = (model["latency"] or {}).get("1"), quality(teacher)["value"]
    return {
        "max_drop_points": None if known is None else 100 * (known - quality(model)["value"]),
        "min_latency_ratio": latency_ratio(model),
        "max_latency_ms": latency["p95_ms"] if latency else None,
        "max_median_ms": latency["median_ms"] if latency else None,
        "max_cold_start_ms": measured(model, "cold_start"),
        "max_memory_mb": in_mb(measured(model, "peak_memory")),
        "max_size_mb": model["size"]["value"] / 1e6,
    }


def _objection(model: dict[str, Any], *, limit: float) -> str:
    return _lost(model, limit=limit) or ("" if (model["latency"] or {}).get("1") else "has no latency at batch 1")


def _lost(model: dict[str, Any], *, limit: float) -> str:
    if model["non_finite"]["value"]:
        return f"gives logits that are not finite on {model['non_finite']['value']:,} samples"
    paired = _excess(model, limit)
    return f"loses {_describe_loss(paired)}, {limit:g} allowed" if paired and paired["verdict"] == "worse" else ""


def _doubt(model: dict[str, Any], *, limit: float) -> str:
    """What is said of a file that is not refused although it seems to lose more than the limit."""
    paired = _excess(model, limit)
    return f", though it may lose more than the {limit:g} points allowed: {_describe_loss(paired)}, which is not shown" if paired else ""


def _excess(model: dict[str, Any], limit: float) -> dict[str, Any] | None:
    """The paired comparison with fp32 where the loss is larger than the limit by estimate."""
    if model["precision"] == "fp32":
        return None
    paired = quality(model)["against_fp32"]
    return paired if -paired["difference"] > limit + 1e-9 else None


def _describe_loss(paired: dict[str, Any]) -> str:
    return (
        f"{-paired['difference']:.2f} points to fp32 ({-paired['high']:.2f} to {-paired['low']:.2f}; {paired['b_only']:,} lost and "
        f"{paired['a_only']:,} won of {paired['samples']:,} rows, {show_p(paired['p'])})"
    )


def _ratio(model: dict[str, Any]) -> tuple[float, float, float]:
    ratio = model["latency"]["1"]["this_over_fp32"]
    return (1.0, 1.0, 1.0) if model["precision"] == "fp32" else (ratio["value"], ratio["low"], ratio["high"])


def _fastest(students: dict[str, dict[str, Any]]) -> str:
    first = min(students.values(), key=lambda m: _ratio(m)[0])
    tied = {name: m for name, m in students.items() if _ratio(m)[1] <= _ratio(first)[2]}
    smallest = min(m["size"]["value"] for m in tied.values())
    small = {name: m for name, m in tied.items() if m["size"]["value"] <= SIZE_TIE * smallest}
    best = max(small, key=lambda name: quality(small[name])["value"])
    trained = [
        name for name, m in small.items() if m["precision"] == TRAINED and quality(m)["value"] >= quality(small[best])["value"] - _error(m)
    ]
    return max(trained, key=lambda name: quality(small[name])["value"], default=best)


def _error(model: dict[str, Any]) -> float:
    """The standard error of a model's accuracy less fp32's over rows, a fraction; an upper bound where gains are no yes or no.

    Formula: sqrt(w + l - (w - l)^2 / n) / n for w rows won and l lost of n."""
    paired = quality(model)["against_fp32"]
    won, lost, rows = paired["a_only"], paired["b_only"], paired["samples"]
    return math.sqrt(won + lost - (won - lost) ** 2 / rows) / rows


def _compare_speed(model: dict[str, Any]) -> str:
    value, low, high = _ratio(model)
    note = "" if high < 1 or low > 1 or model["precision"] == "fp32" else ", within noise"
    return f"takes {value:.2f}x fp32's time ({low:.2f} to {high:.2f}{note})"


def _describe(name: str, model: dict[str, Any], base: dict[str, Any]) -> str:
    samples, latency = quality(model)["samples"], model["latency"]["1"]
    timing = f"{latency['median_ms']:.3g} ms at batch 1"
    if model["precision"] == "fp32":
        return f"{name}, {timing}, and no smaller precision is faster beyond noise and accurate enough"
    change = show_interval(quality(model)["against_fp32"])
    size = model["size"]["value"] / base["size"]["value"]
    where = "validation" if model.get("validation") else "test"
    return f"{name}, {timing}, {_compare_speed(model)}, at {size:.2f}x its size and {change} on {samples:,} {where} samples"
