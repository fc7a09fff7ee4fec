"""What the page shows of towers: for each direction how many queries find a like among the first, among the model's own vectors and the teacher's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

OF_DIRECTION = re.compile(r"(?P<taught>among_the_teacher_)?(?P<direction>\w+_to_[a-z0-9]+)_(?P<metric>recall_at_\d+|mean_reciprocal_rank)")


def retrieval_parts(models: Mapping[str, Any], names: Sequence[str], *, shipped: str) -> dict[str, Any]:
    """{metrics, retrieval} for the page: name -> unit of the metrics that are of no direction, and those that are: {columns, rows}, a row for
    each direction, gallery and model."""
    found, columns = models[shipped].get("metrics", {}), []
    rows: dict[tuple[str, str, str], list[float | None]] = {}
    for name in found:
        if not (told := OF_DIRECTION.fullmatch(name)):
            continue
        if told["metric"] not in columns:
            columns.append(told["metric"])
        for model in names:
            place = told["direction"].replace("_", " "), "the teacher's" if told["taught"] else "its own", model
            rows.setdefault(place, []).append(models[model]["metrics"][name]["value"])
    table = {"columns": [column.replace("_", " ") for column in columns], "rows": [{"place": p, "values": v} for p, v in rows.items()]}
    return {
        "metrics": {name: entry["unit"] for name, entry in found.items() if not OF_DIRECTION.fullmatch(name)},
        "retrieval": table if rows else None,
    }
