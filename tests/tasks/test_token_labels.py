"""A label for each word: what cells become, what counts as right, and the same on a device."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from compress.device import tasks as on_device
from compress.errors import DataError
from compress.tasks.task import Task, task

ROOM = task("token_labels", options={"words": 3})
NAMES = ["O", "B-PER", "I-PER"]
TASK = ROOM.with_facts({"names": NAMES})
LABELS = np.array([[1, 2, 0], [0, 1, 3]], np.int16)  # 3: the second row has two words


def column(*cells: str | list[str] | None) -> pa.ChunkedArray:
    return ROOM.cells(pa.chunked_array([pa.array(cells)]), "here")


def logits_of(labels: np.ndarray) -> np.ndarray:
    """(R, W K): 1 for the label of each word and -1 for the others, 0 where there is none."""
    hot = 2.0 * (labels[:, :, None] == np.arange(3)) - 1
    return np.where(labels[:, :, None] == 3, 0, hot).reshape(len(labels), -1).astype(np.float32)


def test_cells_are_lists_or_names_with_spaces_between() -> None:
    assert column("B-PER I-PER", " ", None).to_pylist() == [["B-PER", "I-PER"], None, None]
    assert column(["O", "O"], []).to_pylist() == [["O", "O"], None]
    with pytest.raises(DataError, match="here is double, but labels of words are names"):
        ROOM.cells(pa.chunked_array([pa.array([1.0])]), "here")


def test_names_begin_with_o_and_go_by_type() -> None:
    assert ROOM.names(column("I-PER B-LOC O", "B-PER O")) == ["O", "B-LOC", "B-PER", "I-PER"]
    with pytest.raises(DataError, match="1 different labels"):
        ROOM.names(column("O O"))


def test_labels_are_places_and_k_where_there_is_no_word() -> None:
    labels, blank = ROOM.encode(column("B-PER I-PER O", "O B-PER", None, "O B-LOC", "O O O O"), NAMES)
    assert labels.tolist() == [[1, 2, 0], [0, 1, 3], [-1] * 3, [-1] * 3, [-1] * 3] and blank.tolist() == [False, False, True, False, False]
    assert ROOM.fault(["O", "B-LOC"], NAMES) == "'B-LOC': no label of the training split"
    assert ROOM.fault(["O"] * 4, NAMES) == "4 words, at most 3: raise data.task_options.words"


def test_rows_with_other_counts_of_words_and_labels_are_told() -> None:
    table = pa.table({"text": pa.chunked_array([["a b", "a  b ", "a b c"]]), "label": column("O O", "O O", "O O")})
    wrong, why = ROOM.misfits(table)
    assert wrong.tolist() == [False, False, True] and why(2) == "3 words and 2 labels"


def test_answers_are_labels_of_words_alone() -> None:
    logits = logits_of(LABELS)
    assert np.array_equal(TASK.answers(logits), LABELS)
    logits[0, 4] = np.nan
    assert TASK.answers(logits).tolist() == [[-1] * 3, [0, 1, 3]]
    assert TASK.show(LABELS[1], NAMES) == "O B-PER" and TASK.show(np.full(3, -1), NAMES) == "not a number"


def test_gain_is_the_f1_of_a_rows_entities() -> None:
    answers = np.array([[1, 0, 0], [0, 1, 3]])  # the first entity ends too early
    assert TASK.gains(answers, LABELS).tolist() == [0, 1] and TASK.score(logits_of(answers), LABELS) == 0.5
    metrics = {name: metric.compute(logits_of(answers), LABELS) for name, metric in TASK.metrics.items()}
    assert metrics == {"row_f1": 0.5, "word_accuracy": 0.8, "entity_f1": 0.5, "entity_precision": 0.5, "entity_recall": 0.5}
    assert TASK.metrics["entity_f1"].interval


def test_labels_that_mark_no_entities_are_scored_by_words() -> None:
    told: Task = ROOM.with_facts({"names": ["NOUN", "VERB", "X"]})
    assert told.gains(np.array([[1, 0, 0], [0, 1, 3]]), LABELS).tolist() == [pytest.approx(2 / 3), 1]
    assert (told.metric, set(told.metrics)) == ("row_accuracy", {"row_accuracy", "word_accuracy"})


def test_guess_is_the_commonest_label_of_each_codes_words() -> None:
    found = TASK.answers(TASK.guess(LABELS, np.array([0, 1]), 3))
    assert found.tolist() == [[0] * 3, [0] * 3, [0] * 3] and TASK.parts(LABELS, LABELS, NAMES).keys() == set(NAMES)
    assert TASK.strata(np.array([[0, 0, 2], [1, 0, 3], [-1, -1, -1]])).tolist() == [2, 1, -1]


def test_device_gives_word_and_label() -> None:
    module = on_device.answerer("token_labels")
    answer = module.answer({"logits": logits_of(LABELS)[1:]}, NAMES, facts={"names": NAMES})
    assert [entry["label"] for entry in answer["labels"]] == ["O", "B-PER"]
    assert answer["labels"][0]["probability"] == pytest.approx(np.exp(1) / (np.exp(1) + 2 * np.exp(-1)))
    assert module.lines(answer) == ["O B-PER"]
    assert module.lines(module.beside(answer, {"text": "saw Ann today"})) == ["saw/O Ann/B-PER", "not read: today"]


def test_decisions_are_of_words_and_stay_within_their_margin() -> None:
    margins, decided = TASK.decisions(logits_of(LABELS))
    assert margins.tolist() == [1] * 5 + [0] and decided[:5].tolist() == [1, 2, 0, 0, 1]
