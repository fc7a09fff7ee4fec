"""Vectors of several inputs in one space: what a gain is, which directions there are, and the same on a device."""

from __future__ import annotations

import numpy as np
import pytest

from compress.errors import DataError, RecipeError
from compress.tasks.task import task


def retrieval(towers=("image", "text"), size: int = 2):
    return task("retrieval", options={"size": size}, facts={"towers": list(towers)})


def test_gain_is_the_mean_over_both_directions():
    # the picture of row 1 points at the text of row 0, the text of row 1 at its own picture more than at the other one
    logits = np.array([[1, 0, 1, 0], [2, 1, 0, 1]], np.float32)
    room = retrieval()
    answers = room.answers(logits)
    assert room.gains(answers, np.array([0, 1])).tolist() == [1, 0.5]
    parts = room.parts(answers, np.array([0, 1]), [])
    assert parts.keys() == {"image to text", "text to image"} and parts["image to text"].tolist() == [1, 0]
    assert room.right(answers, np.array([0, 1])).tolist() == [True, False]


def test_metrics_are_there_for_each_direction_and_over_all():
    logits, labels = np.array([[1, 0, 1, 0], [2, 1, 0, 1]], np.float32), np.array([0, 1])
    found = {name: metric.compute(logits, labels) for name, metric in retrieval().metrics.items()}
    assert found["recall_at_1"] == 0.75 and found["recall_at_5"] == 1
    assert found["image_to_text_recall_at_1"] == 0.5 and found["text_to_image_mean_reciprocal_rank"] == 1
    assert len(retrieval(["image", "audio", "text"], 1).directions) == 6


def test_labels_that_are_vectors_give_the_mean_cosine_of_the_towers():
    room = retrieval()
    teacher = room.answers(np.array([[1, 0, 1, 0]], np.float32))
    assert room.gains(room.answers(np.array([[3, 0, 0, 1]], np.float32)), teacher) == pytest.approx([0.5])


def test_a_tower_that_is_not_finite_finds_nothing_and_the_other_one_does():
    room = retrieval()
    answers = room.answers(np.array([[np.nan, 0, -1, 0], [0, 1, 0, 1], [1, 0, 1, 0.1]], np.float32))
    assert room.parts(answers, np.array([0, 1, 2]), [])["image to text"].tolist() == [0, 1, 1]
    assert np.isfinite(answers[0, 2:]).all()


def test_together_asks_the_teachers_gallery():
    # the student's towers turned by 90 degrees agree with each other and not with the teacher's
    room, labels = retrieval(), np.array([0, 1])
    teacher = room.answers(np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32))
    turned = room.answers(np.array([[0, 1, 0, 1], [1, 0, 1, 0]], np.float32))
    assert room.gains(turned, labels).tolist() == [1, 1]
    assert room.together(turned, teacher, labels)["among_the_teacher_recall_at_1"] == 0
    assert room.together(teacher, teacher, labels)["among_the_teacher_text_to_image_recall_at_1"] == 1


def test_port_says_how_many_vectors_there_are():
    port = retrieval(["image", "text", "audio"], 4).port([])
    assert (port.shape, port.each, port.unit) == ((12,), 3, True)


def test_vectors_that_may_be_cut_are_measured_cut():
    # of two numbers each finds its own; by the first one alone pictures cannot tell the texts apart, and find by chance
    room = task("retrieval", options={"size": 2, "dimensions": [1]}, facts={"towers": ["image", "text"]})
    logits, labels = np.array([[1, 1, 1, 1], [1, -1, 1, -1]], np.float32), np.array([0, 1])
    found = {name: metric.compute(logits, labels) for name, metric in room.metrics.items()}
    assert found["recall_at_1"] == 1 and found["recall_at_1_of_1_numbers"] == 0.5
    assert room.port([]).prefixes == (1,) and room.learn(None, []) == {"dimensions": [1]}
    with pytest.raises(RecipeError, match=r"data.task_options.dimensions: \[2\]; vectors of 2 numbers can be cut to 1 to 1"):
        task("embedding", options={"size": 2, "dimensions": [2]})


def test_rows_that_are_all_alike_are_refused():
    with pytest.raises(DataError, match="all labelled rows of test are alike"):
        retrieval().check(["0"], {"test": np.array([0, 0, -1])})


def test_device_answers_a_vector_for_each_tower_and_tells_when_a_neighbour_tips():
    runner, facts = retrieval().runner, {"towers": ["image", "text"]}
    answer = runner.answer({"logits": np.array([[1, 0, 0, 1]], np.float32)}, [], facts=facts)
    assert answer == {"vectors": {"image": [1, 0], "text": [0, 1]}} and runner.lines(answer) == ["image: 1 0", "text: 0 1"]
    alone = runner.answer({"logits": np.array([[0, 1]], np.float32)}, [], facts={"towers": ["text"]})
    assert alone == {"vector": [0, 1], "tower": "text"} and runner.lines(alone) == ["0 1"]
    margins, nearest = runner.decisions(np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32), facts)
    # cosines of 1 and 0 of two numbers each: 1 / (4 sqrt 2)
    assert nearest.tolist() == [0, 1, 0, 1] and margins == pytest.approx([0.1767767] * 4)
