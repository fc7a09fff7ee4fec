"""Tables of a teacher's answers: numbers and words become logits of the right rows, and what is not usable is counted or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sections import data_section

from compress.data.answer_table import AnswerTable, describe_answers, read_answer_table
from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import PreparedData, open_data
from compress.errors import DataError

ROWS = {"train": [("a", "cat"), ("b", "dog"), ("c", "cat"), ("d", "eel"), ("e", "dog")], "test": [("x", "cat"), ("y", "dog")]}


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., PreparedData]:
    """Five training rows, which are also what validates, and two test rows; a number each. `named`: with a column of ids."""

    def make(*, named: bool = True, rows: dict[str, list[tuple[str, str]]] = ROWS, task: str = "single_label") -> PreparedData:
        for split, some in {**rows, "validation": [(f"v{name}", label) for name, label in rows["train"]]}.items():
            lines = [f"{name},{place},{label}" for place, (name, label) in enumerate(some)]
            (tmp_path / f"{split}.csv").write_text("\n".join(["key,numbers,label", *lines]))
        files = {split: f"{split}.csv" for split in ("train", "validation", "test")}
        source = manifest(base=tmp_path, **files, columns={"id": "key"} if named else {})
        config = data_section(source="manifest", task=task, inputs={"numbers": {"size": 1}})
        prepare(source, config, tmp_path / "data", say=lambda _: None)
        return open_data(tmp_path / "data")

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., AnswerTable]:
    """The answers of a CSV text to some data."""

    def read(text: str, data: PreparedData, *, form: str = "probabilities", strict: bool = False, **names: dict[str, str]) -> AnswerTable:
        (tmp_path / "answers.csv").write_text(text)
        words = {"columns": {"id": "id"}, "labels": {}, **names}
        return read_answer_table(tmp_path / "answers.csv", data, form=form, strict=strict, **words)

    return read


def test_probabilities_become_their_logarithms_in_the_order_of_the_labels(prepared: Callable, read: Callable) -> None:
    found = read("id,eel,dog,cat\nb,0.25,0.75,0\na,0.5,0.25,0.25\ny,0,1,0\n", prepared())
    floor = np.log(1e-6)  # of an answer that the teacher rules out
    np.testing.assert_allclose(found.logits["train"][:2], [np.log([0.25, 0.25, 0.5]), [floor, np.log(0.75), np.log(0.25)]], rtol=1e-6)
    np.testing.assert_allclose(found.logits["test"][1], [floor, 0, floor], rtol=1e-6)
    assert np.isnan(found.logits["test"][0]).all() and np.isnan(found.logits["train"][2:]).all()


def test_labels_are_mapped_by_name_and_logits_are_taken_as_they_are(prepared: Callable, read: Callable) -> None:
    found = read("id,p_cat,2,eel\na,1.5,-3,0\n", prepared(), form="logits", labels={"cat": "p_cat", "dog": "2"})
    assert found.logits["train"][0].tolist() == [1.5, -3.0, 0.0]


def test_rows_are_known_by_their_place_where_the_data_have_no_ids(prepared: Callable, read: Callable) -> None:
    found = read("id,cat,dog,eel\ntrain:5,0,1,0\ntest:1,1,0,0\n", prepared(named=False))
    assert np.isfinite(found.logits["train"]).all(1).tolist() == [False] * 4 + [True]
    assert np.isfinite(found.logits["test"]).all(1).tolist() == [True, False]


def test_several_answers_to_a_row_are_votes(prepared: Callable, read: Callable) -> None:
    text = "id,said\na,feline\na,feline\na,dog\na,feline\nb,dog\n"
    found = read(text, prepared(), form="answers", columns={"id": "id", "answer": "said"}, labels={"cat": "feline"})
    np.testing.assert_allclose(found.logits["train"][0], [np.log(0.75), np.log(0.25), np.log(1e-6)], rtol=1e-6)  # 3 of 4, 1 of 4, nobody
    assert found.logits["train"][1].argmax() == 1


def test_what_is_not_usable_is_counted_by_its_reason(prepared: Callable, read: Callable) -> None:
    text = "id,cat,dog,eel\na,0.9,0.9,0\nb,,0.5,0.5\nc,1,0,0\nc,0,1,0\ne,0,1,0\nnobody,1,0,0\n"
    found = read(text, prepared()).to_json()
    reasons = {"no answer in the table": 1, "no probabilities that sum to 1": 1, "not a number": 1, "answered twice": 1}
    assert found["splits"]["train"] == {"rows": 5, "answered": 1, "reasons": reasons}
    assert found["unused"] == 1
    assert describe_answers(found).startswith("the table answers 1 of 5 train rows (1 no answer in the table, 1 not a number")


def test_label_that_the_table_cannot_name_is_taught_by_the_labels_alone(prepared: Callable, read: Callable) -> None:
    found = read("id,cat,dog\na,1,0\nb,0,1\nc,1,0\nd,0.5,0.5\ne,0,1\n", prepared())
    assert found.unnamed == ("eel",)
    assert np.isfinite(found.logits["train"]).all(1).tolist() == [True, True, True, False, True]  # d is an eel
    assert found.logits["train"][0, 2] == pytest.approx(np.log(1e-6))


def test_strict_reading_refuses_all_of_it_at_once(prepared: Callable, read: Callable) -> None:
    with pytest.raises(DataError) as caught:
        read("id,cat,dog\na,1,0\nb,0.2,0.2\nc,nan,1\nd,0,1\n", prepared(), strict=True)
    said = str(caught.value)
    for words in (
        "no answer in the table: 1 row, such as 'e'",
        "no probabilities that sum to 1: 1 row, such as 'b'",
        "not a number: 1 row",
    ):
        assert words in said
    assert "no column for the labels eel" in said and "teacher.on_bad_answer: labels" in said


def test_strict_reading_takes_a_table_without_test_rows(prepared: Callable, read: Callable) -> None:
    found = read("id,cat,dog,eel\n" + "".join(f"{name},1,0,0\n" for name in "abcde"), prepared(), strict=True)
    assert np.isfinite(found.logits["train"]).all() and np.isnan(found.logits["test"]).all()


def test_word_that_is_no_label_is_a_fault_of_its_row(prepared: Callable, read: Callable) -> None:
    found = read("id,answer\na,cat\nb,wolf\nc,\n", prepared(), form="answers")
    assert found.reasons["train"]["an answer that is no label"] == ["b"] and found.reasons["train"]["a blank answer"] == ["c"]


def test_numbers_are_answers_in_the_unit_of_the_data(prepared: Callable, read: Callable) -> None:
    rows = {"train": [(name, str(value)) for name, value in zip("abcde", (0, 10, 20, 30, 40), strict=True)], "test": [("x", "5")]}
    found = read("id,answer\na,20\nb,34.142135\n", prepared(rows=rows, task="regression"), form="answers")
    np.testing.assert_allclose(found.logits["train"][:2, 0], [0, 1], atol=1e-6)  # mean 20, deviation sqrt(200) = 14.142135


def test_tags_are_log_odds(prepared: Callable, read: Callable) -> None:
    rows = {"train": [("a", "hot|wet"), ("b", "hot"), ("c", "wet"), ("d", "hot"), ("e", "wet")], "test": [("x", "hot")]}
    data = prepared(rows=rows, task="multi_label")
    found = read("id,hot,wet\na,0.5,0.9\nb,1.2,0\n", data)
    np.testing.assert_allclose(found.logits["train"][0], [0, np.log(9)], atol=1e-6)  # log p / (1 - p)
    assert found.reasons["train"]["no probabilities from 0 to 1"] == ["b"]
    voted = read("id,answer\na,hot|wet\na,wet\n", data, form="answers")
    np.testing.assert_allclose(voted.logits["train"][0], [0, np.log((1 - 1e-6) / 1e-6)], rtol=1e-5)


def test_ids_of_several_rows_are_refused(prepared: Callable, read: Callable) -> None:
    data = prepared(rows={**ROWS, "test": [("a", "cat"), ("y", "dog")]})
    with pytest.raises(DataError, match="1 ids are those of several rows of the data, such as 'a'; data.options.columns.id"):
        read("id,cat,dog,eel\na,1,0,0\n", data)


def test_table_that_answers_no_row_shows_both_kinds_of_id(prepared: Callable, read: Callable) -> None:
    with pytest.raises(
        DataError, match=r"no training row has a usable answer there; .*\n  ids of the table are such as \['17'\], .*'a', 'b'"
    ):
        read("id,cat,dog,eel\n17,1,0,0\n", prepared())


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("key,cat\na,1\n", "logits", "teacher.columns.id: no column 'id'; there are key, cat"),
        ("id,answers\na,cat\n", "answers", r"teacher.columns.answer: no column 'answer' \(did you mean 'answers'\?\)"),
        ("id,p0,p1\na,1,0\n", "logits", "has a column for 0 of the 3 labels.* teacher.labels says which column stands for which"),
    ],
)
def test_columns_that_are_not_there_are_named(text: str, form: str, words: str, prepared: Callable, read: Callable) -> None:
    with pytest.raises(DataError, match=words):
        read(text, prepared(), form=form)


def test_parquet_and_lines_of_json_say_the_same(prepared: Callable, tmp_path: Path) -> None:
    data, table = prepared(), pa.table({"id": ["a", "b"], "cat": [1.0, 0.0], "dog": [0.0, 1.0], "eel": [0.0, 0.0]})
    parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"id": "a", "cat": 1, "dog": 0, "eel": 0}\n{"id": "b", "cat": 0, "dog": 1, "eel": 0}\n')
    read = [
        read_answer_table(tmp_path / file, data, form="probabilities", columns={}, labels={}, strict=False)
        for file in ("a.parquet", "a.jsonl")
    ]
    np.testing.assert_array_equal(*(found.logits["train"] for found in read))
