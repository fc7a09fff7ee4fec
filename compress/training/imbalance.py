"""What a training does about rare labels, as `data.imbalance` asks: draws them more often, or asks for them against the odds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compress.data.prepared import PreparedData
from compress.tasks.labels import known
from compress.training.batches import Rows


def against_imbalance(rows: Rows, data: PreparedData) -> Rows:
    """`rows` of the training split with what their batches need: `strata` to draw evenly, or the `shift` of the logits.

    logits: the loss on labels sees the logits plus the logarithm of each label's odds, so that what a model has to learn is what sets a
    label apart and not how common it is; answers are made without. Source: arXiv 2007.07314, section 5.1."""
    labels, how = np.asarray(rows.labels), data.report.get("imbalance", "none")
    if how == "batches":
        return replace(rows, strata=data.task.strata(labels))
    if how == "logits":
        return replace(rows, shift=data.task.shift(labels[known(labels)], data.labels))
    return rows
