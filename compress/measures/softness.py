"""How soft a teacher's answers are on the rows that it was fitted to and on others: what they hold beside the labels.

A head that has seen a row's label answers with hardly more than that label: there a student learns nothing that the label does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from compress.measures.metrics import log_softmax

FITTED = 0.05  # more of the labels answered on training rows than on validation, as a share, and half the entropy: answered as labels


def softness(views: Iterable[np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """Means over views and labelled rows: `largest_p`, `entropy_nats` (-sum_K p log p), `answered` (the label has the largest p); and `samples`.

    {} where no row has a label and finite logits. Shapes: each of views (R, K) logits, labels (R,) int, -1 where there is none.
    """
    found, samples = [], 0
    for logits in views:
        there = (labels >= 0) & np.isfinite(logits).all(axis=1)
        samples = int(there.sum())
        if not samples:
            return {}
        log_p = log_softmax(np.asarray(logits[there], np.float64))
        p = np.exp(log_p)
        found.append((p.max(axis=1).mean(), -(p * log_p).sum(axis=1).mean(), (log_p.argmax(axis=1) == labels[there]).mean()))
    largest, entropy, answered = np.mean(found, axis=0).tolist()
    return {"largest_p": largest, "entropy_nats": entropy, "answered": answered, "samples": samples}


def as_labels(train: Mapping[str, Any], validation: Mapping[str, Any]) -> bool:
    """Whether training rows are answered as their labels, which rows that the teacher has not seen are not."""
    more = train["answered"] - validation["answered"]
    return more > FITTED and train["entropy_nats"] < validation["entropy_nats"] / 2


def describe_softness(train: Mapping[str, Any], validation: Mapping[str, Any]) -> str:
    """Both in one line, and a warning where the teacher has learnt the training rows by heart."""
    line = f"the teacher's answers: training rows {_told(train)}; validation {_told(validation)}"
    if not as_labels(train, validation):
        return line
    return (
        f"{line}. Training rows are answered as their labels: that difference is what the student could not learn from; inputs without a label, "
        "and variants that the teacher was not fitted to (distill.teacher: live), are answered as new ones are"
    )


def _told(found: Mapping[str, Any]) -> str:
    return (
        f"largest probability {found['largest_p']:.3f}, entropy {found['entropy_nats']:.2f} nats, {100 * found['answered']:.1f} % of "
        f"{found['samples']:,} labels"
    )
