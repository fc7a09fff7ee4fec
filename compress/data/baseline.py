"""What can be scored on the test set without looking: the commonest answer, and the commonest answer to each text.

A model that is not clearly above these has learned little from its images.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.prepared import PreparedData


def majority_accuracy(data: PreparedData) -> float:
    """Share of the test rows that have the label most frequent in the labelled training rows."""
    counts = _counts(data.split("train").labels, len(data.labels))
    return float(np.mean(data.split("test").labels == counts.argmax()))


def question_only_accuracy(data: PreparedData) -> float | None:
    """Share of the test rows that have the label most frequent in train for their text; None where the data has no texts.

    Only labelled training rows count; a text that has none is answered with the label most frequent overall.
    Of equally frequent labels the first of `data.labels` is taken.
    """
    if "text" not in data.report["modalities"]:
        return None
    train, test = data.split("train"), data.split("test")
    texts, classes = len(train.inputs["text"]), len(data.labels)
    votes = np.zeros((texts + 1, classes), np.int64)  # the last line is for unknown texts
    labelled = train.labels >= 0
    np.add.at(votes, (train.rows["text"][labelled], train.labels[labelled]), 1)
    majority = _counts(train.labels, classes).argmax()
    answers = np.where(votes.any(axis=1), votes.argmax(axis=1), majority)  # (texts + 1,)
    known = pc.index_in(test.inputs["text"], pa.array(train.inputs["text"]))
    place = pc.fill_null(known, texts).to_numpy(zero_copy_only=False)  # (M of test,) place of each test text in train's
    return float(np.mean(answers[place[test.rows["text"]]] == test.labels))


def _counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """(K,) rows of each label; unlabelled rows are left out."""
    return np.bincount(labels[labels >= 0], minlength=classes)
