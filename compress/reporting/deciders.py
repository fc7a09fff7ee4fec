"""Which modality decided, in the report: what the answers of teacher and student lose without each input."""

from __future__ import annotations

from typing import Any

import numpy as np

NOTE = (
    "Points of probability that a model's own answer loses when this input is left out or, in models that need all of them, when inputs of "
    "training rows stand in for it; mean over {rows} test rows. The figures of a model need not add up: two inputs may each be enough."
)


def show_deciders(weighed: dict[str, dict[str, np.ndarray]]) -> dict[str, Any] | None:
    """{bars: {"model: input": points}, rows: [{model, input, points, of}], note}; None where nothing was weighed.

    weighed: model -> modality -> (R,) probability lost, NaN where it says nothing.
    """
    rows: list[dict[str, Any]] = []
    for model, lost in weighed.items():
        for name, values in lost.items():
            known = 100 * values[~np.isnan(values)]
            if len(known):
                error = 1.96 * float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else None
                points = f"{known.mean():.1f}" + ("" if error is None else f" ± {error:.1f}")
                rows.append({"model": model, "input": name, "points": points, "rows": len(known), "value": float(known.mean())})
    if not rows:
        return None
    bars = {f"{row['model']}: {row['input']}": row.pop("value") for row in rows}
    return {"bars": bars, "rows": rows, "note": NOTE.format(rows=max(row["rows"] for row in rows))}
