"""How soft answers are, by hand, and when that is worth a warning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.measures.softness import as_labels, describe_softness, softness


def test_sure_and_even_answers_by_hand() -> None:
    """Row 0: p = (3/4, 1/4), its entropy ln 4 - 3/4 ln 3; row 1: p = (1/2, 1/2), ln 2; row 2 has no label."""
    logits = np.array([[math.log(3), 0], [5, 5], [9, 0]])
    found = softness([logits], np.array([1, 0, -1]))
    entropy = (math.log(4) - 0.75 * math.log(3) + math.log(2)) / 2
    assert found == pytest.approx({"largest_p": (0.75 + 0.5) / 2, "entropy_nats": entropy, "answered": 0.5, "samples": 2})


def test_views_are_averaged() -> None:
    sure, even = np.array([[100.0, 0.0]]), np.zeros((1, 2))
    found = softness([sure, even], np.array([0]))
    assert (found["largest_p"], found["answered"]) == (0.75, 1.0)
    assert found["entropy_nats"] == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize(("logits", "labels"), [([[1, 2]], [-1]), ([[np.nan, 2]], [0])])
def test_rows_without_a_label_or_an_answer_say_nothing(logits: list, labels: list) -> None:
    assert softness([np.array(logits, float)], np.array(labels)) == {}


def found(answered: float, entropy: float) -> dict:
    return {"largest_p": 0.9, "entropy_nats": entropy, "answered": answered, "samples": 1234}


@pytest.mark.parametrize(
    ("train", "validation", "warned"),
    [
        (found(1.0, 0.01), found(0.72, 0.16), True),
        (found(1.0, 0.54), found(0.72, 1.25), True),  # fitted to smoothed labels: still no more than these
        (found(1.0, 0.01), found(0.99, 0.16), False),  # knows them all anyway
        (found(0.9, 0.5), found(0.72, 0.6), False),
    ],
)
def test_training_rows_that_are_answered_as_labels_are_warned_of(train: dict, validation: dict, warned: bool) -> None:
    assert as_labels(train, validation) is warned
    line = describe_softness(train, validation)
    assert ("Training rows are answered as their labels" in line) is warned
    assert (
        f"training rows largest probability 0.900, entropy {train['entropy_nats']:.2f} nats" in line
        and "of 1,234 labels; validation" in line
    )
