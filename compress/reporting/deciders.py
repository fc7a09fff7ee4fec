"""Which modality decided, in the report: what answers lose without each input, what gradients say, and what the fusion itself weighs."""

from __future__ import annotations

from typing import Any

import numpy as np

LEFT_OUT = (
    "Points of probability that a model's own answer loses when this input is left out or, in models that need all of them, when inputs of "
    "training rows stand in for it; mean over {rows} test rows. The figures of a model need not add up: two inputs may each be enough."
)
ALONG = (
    "Integrated gradients: points of probability of a model's own answer that come from this input on a straight path, in {steps} steps, from the "
    "mean of {others} training rows (of texts: the mean vector of their words) to the row; mean over {rows} test rows. The figures of a model add "
    "up to what the whole path adds, here with an error of at most {error:.2f} points a row. Explained are torch's float32 models, whatever ships."
)
WEIGHED = (
    "What the fusion of {whose} weighs: the share of each input in its {kind}, mean over {rows} test rows. A weight says how much "
    "was let in, not what it was worth."
)
Values = dict[str, dict[str, np.ndarray]]  # model -> modality -> (R,), NaN where a row says nothing


def show_deciders(weighed: Values) -> dict[str, Any] | None:
    """{title, label, bars: {"model: input": points}, rows: [{model, input, points, rows}], note} of the probability lost; None of nothing."""
    return _bars(weighed, "Which input decided", "points of probability lost without this input", LEFT_OUT)


def show_gradients(attributed: Values, *, steps: int, others: int, error: float, skipped: str = "") -> dict[str, Any] | None:
    """The same of integrated gradients; error: the largest of a row, a probability; skipped: a sentence on a model that has none."""
    note, title = f"{ALONG} {skipped}".strip(), "Which input the gradients point at"
    return _bars(attributed, title, "points of probability along the path", note, steps=steps, others=others, error=100 * error)


def show_contributions(shares: Values, *, kind: str, shipped: bool = False) -> dict[str, Any] | None:
    """The same of the shares that a fusion gives its inputs; kind: weights, gates or attention; shipped: as the shipped file tells them."""
    whose = "the shipped file, as its second output says," if shipped else "torch's float32 student"
    return _bars(shares, f"What the fusion lets in by its {kind}", "per cent", WEIGHED, kind=kind, whose=whose)


def _bars(values: Values, title: str, label: str, note: str, **words: Any) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = []
    for model, found in values.items():
        for name, of_rows in found.items():
            known = 100 * of_rows[~np.isnan(of_rows)]
            if len(known):
                error = 1.96 * float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else None
                points = f"{known.mean():.1f}" + ("" if error is None else f" ± {error:.1f}")
                rows.append({"model": model, "input": name, "points": points, "rows": len(known), "value": float(known.mean())})
    if not rows:
        return None
    bars = {f"{row['model']}: {row['input']}": row.pop("value") for row in rows}
    return {"title": title, "label": label, "bars": bars, "rows": rows, "note": note.format(rows=max(row["rows"] for row in rows), **words)}
