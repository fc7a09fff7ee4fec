"""Which numbers of an answer are explained, task by task: of the answer as it is, the same by numpy and by torch, and with a slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compress.tables import TASKS
from compress.tasks.task import Task, task

ROWS, NAMES = 5, ["a", "b", "c"]
DRAW = np.random.default_rng(0)
LOGITS, OTHER = DRAW.normal(size=(2, ROWS, 3))
LOGITS[0] = [-3, -2, -4]  # no tag
VECTORS, TURNED = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (LOGITS, OTHER))
PRICE = {"mean": [5.0], "deviation": [10.0]}
HEADS = [
    {"name": "kind", "task": "single_label", "names": NAMES[:2], "facts": {}, "options": {}, "weight": 1.0},
    {"name": "price", "task": "regression", "names": ["value"], "facts": PRICE, "options": {}, "weight": 1.0},
]


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


ASKED = LOGITS > np.log(3)  # thresholds of 3/4
ASKED[~ASKED.any(1)] = np.eye(3, dtype=bool)[LOGITS[~ASKED.any(1)].argmax(1)]

# task -> facts, logits of the rows as they are, and changed, and what is explained of the changed ones: [(head, what, (R,))]
EXPLAINED: dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray, list[tuple[str, str, np.ndarray]]]] = {
    "single_label": (
        {"temperature": 2.0},
        *(LOGITS, OTHER),
        [("", "its probability", softmax(OTHER / 2)[np.arange(ROWS), LOGITS.argmax(1)])],
    ),
    "multi_label": (
        {"thresholds": [float(np.log(3))] * 3},
        *(LOGITS, OTHER),
        [("", "the mean probability of its tags", np.array([sigmoid(z)[on].mean() for z, on in zip(OTHER, ASKED, strict=True)]))],
    ),
    "regression": (
        {"mean": [5.0, 0.0, 1.0], "deviation": [10.0, 1.0, 2.0]},
        *(LOGITS, OTHER),
        [("", "a", 10 * OTHER[:, 0] + 5), ("", "b", OTHER[:, 1]), ("", "c", 2 * OTHER[:, 2] + 1)],
    ),
    **dict.fromkeys(
        ("embedding", "verification"), ({}, VECTORS, TURNED, [("", "its cosine with the whole answer", (VECTORS * TURNED).sum(1))])
    ),
    "several": (
        {"heads": HEADS},
        *(LOGITS, OTHER),
        [
            ("kind", "its probability", softmax(OTHER[:, :2])[np.arange(ROWS), LOGITS[:, :2].argmax(1)]),
            ("price", "value", 10 * OTHER[:, 2] + 5),
        ],
    ),
}
ALONE = {"token_labels", "segmentation", "retrieval"}  # of one input, or with an answer for each


def room(name: str) -> tuple[Task, np.ndarray, np.ndarray]:
    facts, logits, other, _ = EXPLAINED[name]
    return task(name, facts=facts), logits, other


def test_every_task_explains_its_answers_or_has_none_that_inputs_share() -> None:
    assert {*EXPLAINED} | ALONE == {*TASKS} and not {*EXPLAINED} & ALONE
    for name in ALONE:
        assert task(name).explained(LOGITS, LOGITS, NAMES) == []


@pytest.mark.parametrize("name", EXPLAINED)
def test_numbers_are_those_of_the_answer_that_the_row_has(name: str) -> None:
    found, expected = room(name), EXPLAINED[name][3]
    told = found[0].explained(found[2], found[1], NAMES)
    assert [(number.head, number.what) for number in told] == [(head, what) for head, what, _ in expected]
    for number, (_, _, values) in zip(told, expected, strict=True):
        np.testing.assert_allclose(number.values, values, rtol=1e-6)


@pytest.mark.parametrize("name", EXPLAINED)
def test_torch_calculates_the_same_and_its_slope(name: str) -> None:
    made, logits, other = room(name)
    given = torch.from_numpy(other).requires_grad_()
    numbers = made.explained(given, torch.from_numpy(logits), NAMES, xp=torch)
    for number, same in zip(numbers, made.explained(other, logits, NAMES), strict=True):
        np.testing.assert_allclose(number.values.detach().numpy(), same.values, rtol=1e-6)
        (slope,) = torch.autograd.grad(number.values.sum(), given, retain_graph=True)
        assert (slope.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["single_label", "embedding", "verification"])
def test_an_answer_as_it_is_has_what_predict_says(name: str) -> None:
    made, logits, _ = room(name)
    (number,) = made.explained(logits, logits, NAMES)
    sure = made.sure(logits)
    np.testing.assert_allclose(number.values, np.ones(ROWS) if sure is None else sure, rtol=1e-6)
