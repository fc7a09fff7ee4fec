"""One of K labels: their order, what counts as right, and the same answer on a device. Of every task: what its tables promise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from compress.device import tasks as on_device
from compress.errors import CompressError
from compress.io_spec import Port
from compress.measures.metrics import METRICS
from compress.recipe.needs import reads_teacher
from compress.tables import LOSSES, TASKS
from compress.tasks.task import task

TASK = task("single_label")


def column(*values: object, type: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type)])


@pytest.mark.parametrize("name", TASKS)
def test_task_names_losses_and_a_metric_that_there_are(name: str) -> None:
    room = task(name)
    if room.towers:  # each direction has metrics of its own
        room = room.with_facts({"towers": ["image", "text"]})
    assert room.metric in room.metrics and room.measure and room.constant
    if room.of_heads:  # whose losses are those of the heads' own tasks
        return
    assert room.losses and set(room.losses) <= set(LOSSES)
    assert room.on_labels == [{"name": room.losses[0]}]
    assert not reads_teacher(LOSSES[room.losses[0]])
    assert {loss["name"] for loss in (*room.objective, *room.rivals.values())} <= set(room.losses)
    assert room.joint or room.objective[0]["name"] == room.losses[0]  # who shares the teacher's space is not taught by labels


@pytest.mark.parametrize("name", TASKS)
def test_task_is_known_to_the_device(name: str) -> None:
    assert name in on_device.TASKS
    module = on_device.answerer(name)
    assert callable(module.answer) and callable(module.lines) and callable(module.decisions)


def test_labels_are_in_the_order_of_the_alphabet() -> None:
    assert TASK.names(column("red", "blue", "red", None, "  ", "Amber")) == ["Amber", "blue", "red"]


def test_labels_that_are_numbers_are_in_their_order() -> None:
    assert TASK.names(column("10", "9", "2")) == ["2", "9", "10"]
    assert TASK.names(column("10", "9", "x")) == ["10", "9", "x"]  # one that is none, and they are names


def test_labels_of_a_dictionary_keep_its_order_and_unused_ones_are_left_out() -> None:
    chunks = [pa.DictionaryArray.from_arrays([1, 0], ["yes", "no", "maybe"]), pa.DictionaryArray.from_arrays([0], ["red"])]
    assert TASK.names(pa.chunked_array(chunks)) == ["yes", "no", "red"]


def test_labels_are_encoded_as_places_and_blank_is_told_from_unknown() -> None:
    codes, blank = TASK.encode(column("b", None, "z", " ", "a"), ["a", "b"])
    assert codes.dtype == np.int32
    assert codes.tolist() == [1, -1, -1, -1, 0]
    assert blank.tolist() == [False, True, False, True, False]


def test_port_has_one_logit_a_label() -> None:
    assert TASK.port(["a", "b", "c"]) == Port("logits", "float32", (3,))


LOGITS = np.array([[0.0, 1.0], [2.0, 1.0], [np.nan, 5.0], [np.inf, 0.0]])


def test_answer_is_the_largest_logit_and_none_where_one_is_not_finite() -> None:
    assert TASK.answers(LOGITS).tolist() == [1, 0, -1, -1]


def test_right_is_an_answer_that_is_the_label() -> None:
    assert TASK.gains(TASK.answers(LOGITS), np.array([1, 1, 1, -1])).tolist() == [
        True,
        False,
        False,
        False,
    ]  # the last has no answer and no label


def test_score_counts_labelled_rows_alone() -> None:
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert TASK.score(logits, np.array([1, 1, 0, -1])) == pytest.approx(2 / 3)


def test_balanced_score_is_the_mean_over_labels() -> None:
    told = TASK.with_facts({"balanced": True})
    logits, labels = np.eye(3)[[0, 0, 0, 1, 0]], np.array([0, 0, 0, 1, 1])
    assert (told.metric, told.measure) == ("balanced_accuracy", "balanced accuracy")
    assert told.score(logits, labels) == pytest.approx(METRICS["balanced_accuracy"].compute(logits, labels)) == pytest.approx(0.75)
    assert told.gains(told.answers(logits), labels).tolist() == pytest.approx([5 / 6] * 3 + [5 / 4, 0])  # 5 rows, 2 labels, 3 and 2 rows
    assert TASK.metric == "accuracy"


def test_score_of_no_labelled_row_is_an_error() -> None:
    with pytest.raises(CompressError, match="no labelled row among 2 to score"):
        TASK.score(np.zeros((2, 2)), np.array([-1, -1]))


def test_sentence_says_how_many_labels() -> None:
    assert TASK.sentence(["a", "b"]) == "classification into 2 labels"


def test_device_gives_the_same_answer_with_its_probability() -> None:
    labels, logits = ["a", "b", "c"], np.array([[1.0, 3.0, 2.0]], np.float32)
    module = on_device.answerer("single_label")
    found = module.answer({"logits": logits}, labels, facts={})
    # e^3 / (e^1 + e^2 + e^3) = 20.0855 / 30.1929
    assert found["label"] == labels[TASK.answers(logits)[0]] == "b"
    assert found["probability"] == pytest.approx(0.66524, abs=1e-5)
    assert [entry["label"] for entry in found["top"]] == ["b", "c", "a"]
    assert module.lines(found) == ["b  0.665", "  0.665  b", "  0.245  c", "  0.090  a"]
    assert [entry["label"] for entry in module.answer({"logits": logits}, labels, facts={}, top=2)["top"]] == ["b", "c"]


def test_device_divides_logits_by_the_temperature_that_validation_asked_for() -> None:
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    module = on_device.answerer("single_label")
    cooler = module.answer({"logits": 2 * logits}, ["a", "b", "c"], facts={"temperature": 2.0})
    assert cooler == module.answer({"logits": logits}, ["a", "b", "c"], facts={})
    assert module.probability({"logits": 2 * logits}, {"logits": logits}, facts={"temperature": 2.0}) == pytest.approx(
        [cooler["probability"]]
    )


def test_a_model_learns_its_temperature_from_rows_that_are_enough() -> None:
    labels = np.arange(400) % 2
    sure = (
        np.where(np.arange(400) % 10 < 7, 1, -1)[:, None] * 5.0 * np.eye(2)[labels]
    )  # seven in ten are right, all with the same certainty
    found = TASK.fit(sure, labels)
    assert sorted(found) == ["temperature"]
    assert 5 / found["temperature"] == pytest.approx(np.log(7 / 3), rel=1e-3)  # so seven in ten is what it says
    assert TASK.fit(sure[:100], labels[:100]) == {}
