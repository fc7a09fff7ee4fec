"""What can be scored on the test set without looking: the commonest answer, and the commonest answer to each input.

A model that is not clearly above these has learned little from its images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.prepared import PreparedData


def majority_answer(data: PreparedData) -> int:
    """The label most frequent in the labelled training rows."""
    return int(_counts(data.split("train").labels, len(data.labels)).argmax())


def majority_accuracy(data: PreparedData) -> float:
    """Share of the test rows that have that label."""
    return float(np.mean(data.split("test").labels == majority_answer(data)))


def lookup_accuracy(data: PreparedData, modality: str) -> float | None:
    """Share of the test rows that `lookup_answers` has right; None where no input is shared."""
    answers = lookup_answers(data, modality)
    return None if answers is None else float(np.mean(answers == data.split("test").labels))


def lookup_answers(data: PreparedData, modality: str) -> np.ndarray | None:
    """(R,) for each test row the label most frequent in train for its input of one modality; None where no input is shared.

    Only labelled training rows count; an input that has none is answered with the label most frequent overall.
    Of equally frequent labels the first of `data.labels` is taken.
    """
    train, test = data.split("train"), data.split("test")
    known = _places(train.inputs[modality], test.inputs[modality])  # (M of test,) place of each test input in train's
    if known is None or (known == len(train.inputs[modality])).all():
        return None
    count, classes = len(train.inputs[modality]), len(data.labels)
    votes = np.zeros((count + 1, classes), np.int64)  # the last line is for unknown inputs
    labelled = (train.labels >= 0) & ~train.lacks(modality)
    np.add.at(votes, (train.rows[modality][labelled], train.labels[labelled]), 1)
    answers = np.where(votes.any(axis=1), votes.argmax(axis=1), majority_answer(data))  # (count + 1,)
    return np.asarray(answers[np.where(test.lacks(modality), count, known[test.rows[modality]])])


def describe_baselines(data: PreparedData) -> dict[str, float]:
    """{"majority"} and {"<modality>_alone"} of each modality whose inputs test shares with train, where there are others beside it."""
    found = {f"{m}_alone": lookup_accuracy(data, m) for m in data.report["modalities"]}
    return {"majority": majority_accuracy(data), **{name: value for name, value in found.items() if value is not None}}


def _places(train: Any, test: Any) -> np.ndarray | None:
    """(M,) place of each test input among train's, their number where it is not there; None for inputs that cannot be compared."""
    if not isinstance(train, pa.Array):
        return None  # arrays of pixels: equal files are told by report.json's seen_in_train
    return pc.fill_null(pc.index_in(test, pa.array(train)), len(train)).to_numpy(zero_copy_only=False)


def _counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """(K,) rows of each label; unlabelled rows are left out."""
    return np.bincount(labels[labels >= 0], minlength=classes)
