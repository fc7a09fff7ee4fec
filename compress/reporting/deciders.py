"""Which modality decided, in the report: what answers lose without each input, what gradients say, and what the fusion itself weighs."""

from __future__ import annotations

from typing import Any

import numpy as np

from compress.device.tasks import Explained

LEFT_OUT = (
    "What a model's own answer loses of {what}, in {unit}, when this input is left out or, in models that need all of them, when inputs of "
    "training rows stand in for it; mean over {rows} test rows. The figures of a model need not add up: two inputs may each be enough."
)
ALONG = (
    "Integrated gradients: how much of {what} of a model's own answer, in {unit}, comes from this input on a straight path, in {steps} steps, from the "
    "mean of {others} training rows (of texts: the mean vector of their words) to the row; mean over {rows} test rows. The figures of a row add "
    "up to what the whole path adds, here with an error of at most {error:.2f}. Explained are torch's float32 models, whatever ships."
)
SIZES = " A number may go either way, so the mean is of sizes."
WEIGHED = (
    "What the fusion of {whose} weighs: the share of each input in its {kind}, mean over {rows} test rows. A weight says how much "
    "was let in, not what it was worth."
)
Values = dict[str, dict[str, np.ndarray]]  # model -> modality -> (R,), NaN where a row says nothing
PROBABILITY = Explained("its probability", None)


def show_deciders(weighed: Values, *, of: Explained = PROBABILITY) -> dict[str, Any] | None:
    """{title, label, bars: {"model: input": points}, rows: [{model, input, points, rows}], note} of what is lost of a number; None of nothing."""
    return _bars(weighed, _titled("Which input decided", of), f"{of.unit} of {of.what} lost without this input", LEFT_OUT, of=of)


def show_gradients(
    attributed: Values, *, steps: int, others: int, error: float, skipped: str = "", of: Explained = PROBABILITY
) -> dict[str, Any] | None:
    """The same of integrated gradients; error: the largest of a row, as the number itself; skipped: a sentence on a model that has none."""
    words = {"steps": steps, "others": others, "error": _scale(of) * error}
    title, label = _titled("Which input the gradients point at", of), f"{of.unit} of {of.what} along the path"
    found = _bars(attributed, title, label, ALONG, of=of, **words)
    return found and {**found, "note": f"{found['note']} {skipped}".strip()}


def show_contributions(shares: Values, *, kind: str, shipped: bool = False) -> dict[str, Any] | None:
    """The same of the shares that a fusion gives its inputs; kind: weights, gates or attention; shipped: as the shipped file tells them."""
    whose = "the shipped file, as its second output says," if shipped else "torch's float32 student"
    return _bars(shares, f"What the fusion lets in by its {kind}", "per cent", WEIGHED, kind=kind, whose=whose)


def _titled(title: str, of: Explained) -> str:
    """With the head, or the number where it is none of `points`."""
    which = of.head if of.unit == "points" or not of.head else f"{of.head}, {of.what}"
    which = which or ("" if of.unit == "points" else of.what)
    return f"{title}: {which}" if which else title


def _scale(of: Explained) -> int:
    return 100 if of.unit == "points" else 1


def _bars(values: Values, title: str, label: str, note: str, *, of: Explained = PROBABILITY, **words: Any) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = []
    signed = of.unit == "points"
    for model, found in values.items():
        for name, of_rows in found.items():
            known = _scale(of) * (of_rows if signed else np.abs(of_rows))[~np.isnan(of_rows)]
            if len(known):
                error = 1.96 * float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else None
                digits = ".1f" if signed else ".3g"
                points = f"{known.mean():{digits}}" + ("" if error is None else f" ± {error:{digits}}")
                rows.append({"model": model, "input": name, "points": points, "rows": len(known), "value": float(known.mean())})
    if not rows:
        return None
    bars = {f"{row['model']}: {row['input']}": row.pop("value") for row in rows}
    note = note.format(rows=max(row["rows"] for row in rows), what=of.what, unit=of.unit, **words)
    return {"title": title, "label": label, "bars": bars, "rows": rows, "note": note if signed else note + SIZES}
