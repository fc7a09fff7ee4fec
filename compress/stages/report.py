"""report: summary, measurements and a few samples in, report.html out; written from JSON and the stored rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData

VERSION = 1


def write_report(
    out: Path,
    *,
    summary: dict[str, Any],
    measurements: dict[str, Any],
    extras: dict[str, Any],
    samples: list[dict[str, Any]],
    misses: list[str] | None = None,
) -> Path:
    """`out`/report.html, self-contained.

    extras, each key optional: description, command (text); notes ([text]); skipped ([{what, why}]); stages ([{name, seconds, reused}]);
    environment ({name: value}); history ({run: [{step, accuracy}]}); sensitivity ([{layer, drop_points}]); parity ([{...}]);
    coverage ({int8_share, nodes: [{...}], float: [{...}]}); tables ([{title, note, rows: [{...}]}]), rows being flat and shown as they are.
    samples: [{image: (H, W, 3) uint8 or None, text, label, predictions: {model: answer}}]. misses: lines of the budget that were missed.
    """
    from compress.reporting.page import render_page  # matplotlib and jinja2 load only where a report is written

    page = render_page(summary=summary, measurements=measurements, extras=extras, samples=samples, misses=misses or [])
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def pick_samples(data: PreparedData, predictions: Path, *, models: list[str], count: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Test rows for `write_report`: up to half where one of `models` is wrong or they disagree, the rest drawn from all others.

    predictions: the benchmark's predictions.npz; models: names in it, in the order shown."""
    test = data.split("test")
    with np.load(predictions) as stored:
        rows, answers = stored["rows"], {name: stored[f"model_{name}"] for name in models}
    labels = np.asarray(test.labels)[rows]
    wrong = np.any([answer != labels for answer in answers.values()], axis=0)  # a disagreement has someone wrong
    draw = np.random.default_rng(seed)
    hard = draw.permutation(np.flatnonzero(wrong))[: count // 2]
    easy = draw.permutation(np.flatnonzero(~wrong))[: count - len(hard)]
    return [
        _describe_row(data, test, rows[place], {name: int(answer[place]) for name, answer in answers.items()}) for place in (*hard, *easy)
    ]


def _describe_row(data: PreparedData, test: Any, row: int, answers: dict[str, int]) -> dict[str, Any]:
    def find(modality: str) -> Any:
        return test.inputs[modality][int(test.rows[modality][row])] if modality in test.rows else None

    text = find("text")
    return {
        "image": None if (image := find("image")) is None else np.asarray(image),
        "text": None if text is None else text.as_py(),
        "label": data.labels[test.labels[row]],
        "predictions": {name: data.labels[k] if k >= 0 else "not a number" for name, k in answers.items()},
    }
