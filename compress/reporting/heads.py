"""What the report shows of several heads: each by its own measure, teacher and students side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.measures.paired import describe_paired
from compress.reporting.cells import percent


def show_heads(models: Mapping[str, Any], *, shipped: str) -> dict[str, Any]:
    """The table of the heads, a row each; rows empty where there are none."""
    named = [name for name, model in models.items() if name in ("teacher", "fp32", shipped) and model.get("heads")]
    rows = []
    for head, own in (models[shipped].get("heads") or {}).items():
        accuracy = own["accuracy"]
        cells = {"head": head, "measure": own["measure"], "test rows": f"{accuracy['samples']:,}"}
        for name in named:
            if told := models[name]["heads"].get(head):
                cells[f"{name}, %"] = f"{percent(told['accuracy']['value'])}"
        cells["95 %"] = f"{percent(accuracy['low'])} to {percent(accuracy['high'])}"
        paired, guessed = accuracy.get("against_teacher"), accuracy.get("against_majority")
        cells[f"{shipped} against teacher"] = describe_paired(paired) if paired else "not known"
        cells["against one answer to all"] = describe_paired(guessed) if guessed else "not known"
        rows.append(cells)
    note = (
        f"Each head is scored by its own measure on the test rows that have its label; the interval is that of {shipped}. The figure that decides "
        "is the mean over the heads, each with the same say."
    )
    return {"title": "Heads", "note": note, "rows": rows}
