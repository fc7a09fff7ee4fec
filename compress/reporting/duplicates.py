"""Near duplicates between test and train in the report: pairs to look at, and the accuracy of what ships on the other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData
from compress.modalities.modality import modality


def show_near(data: PreparedData, split: str = "test") -> list[dict[str, Any]]:
    """Pairs of an input of the split and a training input: {test, train: HTML, test_row, train_row: in the source, from 1}."""
    near = data.report["splits"][split]["near_duplicates"]
    if not near or not near["examples"]:
        return []
    room, test, train = modality(near["of"]), data.split(split).inputs[near["of"]], data.split("train").inputs[near["of"]]
    return [
        {
            "test": room.show(test, pair["input"]),
            "train": room.show(train, pair["train_input"]),
            "test_row": pair["row"],
            "train_row": pair["train_row"],
        }
        for pair in near["examples"]
    ]


def score_apart(data: PreparedData, predictions: Path, *, model: str) -> str | None:
    """The sentence that gives accuracy with and without the test rows that are near duplicates; None where there are none, or no others.

    predictions: the benchmark's predictions.npz."""
    test = data.split("test")
    with np.load(predictions) as stored:
        rows, answers = stored["rows"], stored[f"model_{model}"]
    labels, near = np.asarray(test.labels)[rows], np.asarray(test.near_train)[rows]
    if near.all() or not near.any():
        return None
    return (
        f"Without the near duplicates {model} has {100 * data.task.gains(answers[~near], labels[~near]).mean():.1f} % of {int((~near).sum()):,} test rows, "
        f"with them {100 * data.task.gains(answers, labels).mean():.1f} % of {len(rows):,}."
    )
