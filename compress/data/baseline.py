"""What can be scored on the test set without looking: one answer to everything, and the best answer to each input of one modality.

A model that is not clearly above these has learned little from its images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.prepared import PreparedData
from compress.tasks.labels import known


def constant_answer(data: PreparedData) -> np.ndarray:
    """(1, ...) the answer that fits the labelled training rows best: the commonest label, the median, ...; raises ValueError without any."""
    labels = np.asarray(data.split("train").labels)
    labels = labels[known(labels)]
    if not len(labels):
        raise ValueError("no training row has a label")
    return data.task.answers(data.task.guess(labels, np.zeros(len(labels), np.int64), 1))


def lookup_answers(data: PreparedData, modality: str) -> np.ndarray | None:
    """(R, ...) for each test row the answer that fits its input of one modality best in train; None where no input is shared.

    Only labelled training rows count; an input that has none is answered with `constant_answer`.
    """
    train, test = data.split("train"), data.split("test")
    places = _places(train.inputs[modality], test.inputs[modality])  # (M of test,) place of each test input in train's
    if places is None or (places == len(train.inputs[modality])).all():
        return None
    count = len(train.inputs[modality])
    labels = np.asarray(train.labels)
    labelled = known(labels) & ~train.lacks(modality)
    codes = np.asarray(train.rows[modality])[labelled]
    answers = data.task.answers(data.task.guess(labels[labelled], codes, count + 1))  # the last line is for unknown inputs
    answers[np.bincount(codes, minlength=count + 1) == 0] = constant_answer(data)
    return np.asarray(answers[np.where(test.lacks(modality), count, places[test.rows[modality]])])


def baseline_answers(data: PreparedData) -> dict[str, np.ndarray]:
    """Answers (R, ...) to all test rows of "majority" and of "<modality>_alone" for each modality whose inputs test shares with train."""
    if not known(data.split("train").labels).any():
        return {}
    always = constant_answer(data)
    found = {f"{m}_alone": lookup_answers(data, m) for m in data.report["modalities"]}
    rows = np.broadcast_to(always, (len(data.split("test")), *always.shape[1:]))
    return {"majority": rows, **{name: answers for name, answers in found.items() if answers is not None}}


def describe_baselines(data: PreparedData) -> dict[str, float]:
    """The mean gain of each of `baseline_answers` over the test rows."""
    labels = np.asarray(data.split("test").labels)
    return {name: float(data.task.gains(answers, labels).mean()) for name, answers in baseline_answers(data).items()}


def _places(train: Any, test: Any) -> np.ndarray | None:
    """(M,) place of each test input among train's, their number where it is not there; None for inputs that cannot be compared."""
    if not isinstance(train, pa.Array):
        return None  # arrays of pixels: equal files are told by report.json's seen_in_train
    return pc.fill_null(pc.index_in(test, pa.array(train)), len(train)).to_numpy(zero_copy_only=False)
