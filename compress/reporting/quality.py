"""What the page shows of a closer look at one of K labels: classes side by side, what is taken for what, and how sure is how right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from compress.reporting.plots import plot_reliability

LARGEST_MATRIX = 16  # classes; beyond that a table says more
MOST_PAIRS = 20
FEWEST = 10  # rows of a bin that is drawn


def quality_parts(models: dict[str, Any], names: Sequence[str], *, shipped: str, labels: Sequence[str]) -> dict[str, Any]:
    """{quality, classes, confusion, reliability} for quality.html.j2; `names`: the models compared, whose measurements may have none."""
    found = {name: models[name]["labels"] for name in names if models[name].get("labels")}
    if shipped not in found:
        return {"quality": {}, "classes": [], "confusion": None, "reliability": None}
    known = {name: {c["name"]: c for c in entry["by_class"]} for name, entry in found.items()}
    samples = {c["name"]: c["samples"] for entry in found.values() for c in entry["by_class"]}
    classes = [{"name": name, "samples": count, "models": [k.get(name) for k in known.values()]} for name, count in samples.items()]
    bins = {name: [b for b in entry["calibration"]["bins"] if b["samples"] >= FEWEST] for name, entry in found.items()}
    drawn = {name: some for name, some in bins.items() if some}
    return {
        "quality": found,
        "classes": classes,
        "confusion": _confusion(found[shipped], labels),
        "reliability": Markup(plot_reliability(drawn, shipped=shipped)) if drawn else None,
    }


def _confusion(found: dict[str, Any], labels: Sequence[str]) -> dict[str, Any] | None:
    """A matrix where there are few classes, else the most frequent pairs; None where nothing is confused."""
    if not found["confusions"]:
        return None
    if len(labels) > LARGEST_MATRIX:
        return {"matrix": None, "pairs": [(labels[a], labels[b], rows) for a, b, rows in found["confusions"][:MOST_PAIRS]]}
    rows = {name: [0] * len(labels) for name in labels}
    for a, b, count in found["confusions"]:
        rows[labels[a]][b] = count
    for c in found["by_class"]:
        place = labels.index(c["name"])
        rows[c["name"]][place] = round((c["recall"]["value"] or 0) * c["samples"])
    return {"names": labels, "matrix": [_shaded(counts, k) for k, counts in enumerate(rows.values())]}


def _shaded(counts: list[int], own: int) -> list[dict[str, Any]]:
    total = max(1, sum(counts))
    return [{"rows": count, "percent": round(100 * count / total), "hit": k == own} for k, count in enumerate(counts)]
