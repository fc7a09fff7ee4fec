"""Which test rows the report shows: where teacher and student differ first, and who is right; then mistakes; sounds as long as there is room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from compress.data.prepared import PreparedData
from compress.modalities.tokens import write_texts
from compress.reporting import samples
from compress.reporting.markdown import differing_in_words, origin
from compress.reporting.samples import describe_rows, differing, in_words, others, read_answers
from compress.stages.benchmark.quality import count_differing

LABELS = [0, 0, 0, 0, 0, 0, 0, 1, 1]  # of test rows 1 to 9, row 0 is not scored
TEACHER = [0, 0, 0, 1, 1, 0, 0, 0, 0]
STUDENT = [0, 1, 1, 0, 1, 0, 0, 2, 0]  # differs at places 1, 2 (the teacher is right), 3 (the student is), 7 (neither)
SURE = [0.9, 0.6, 0.8, 0.7, 0.9, 0.9, 0.9, 0.5, 0.9]


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    folder = tmp_path / "data" / "test"
    folder.mkdir(parents=True)
    np.save(folder / "image.npy", np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((10, 2, 2, 3), np.uint8))
    write_texts(folder / "text.arrow", pa.array([f"what? {i}" for i in range(10)]))
    sounds = np.zeros((10, 160), np.int16)
    sounds[:, 0] = 100
    np.save(folder / "audio.npy", sounds)
    numbers = {"labels": [0, *LABELS], "kinds": [0] * 10, "groups": [-1] * 10, "near_train": [0] * 10}
    for name, values in {**numbers, **{f"rows_{m}": range(10) for m in ("image", "text", "audio")}}.items():
        np.save(folder / f"{name}.npy", np.array(values, np.int32))
    report = {"modalities": ["image", "text", "audio"], "task": "single_label", "teacher_apart": []}
    return PreparedData(
        tmp_path / "data", ["no", "yes", "red"], ["all"], {**report, "inputs": {"image": {}, "text": {}, "audio": {"rate": 16000}}}
    )


@pytest.fixture
def found(data: PreparedData, tmp_path: Path) -> samples.Answered:
    arrays = {
        "model_teacher": np.int32(TEACHER),
        "model_student": np.int32(STUDENT),
        "p_student": np.float32(SURE),
        "p_teacher": np.full(9, 0.5),
    }
    np.savez(tmp_path / "predictions.npz", rows=np.arange(1, 10), heard=np.ones(9, bool), **arrays)
    return read_answers(data, tmp_path / "predictions.npz", ["teacher", "student"])


def test_rows_on_which_they_differ_come_by_turns_and_the_surest_first(data: PreparedData, found: samples.Answered) -> None:
    places = differing(data, found, teacher="teacher", student="student")
    assert places.tolist() == [2, 3, 7, 1]  # the teacher's surest, the student's, neither's, the teacher's next
    first = describe_rows(data, found, places)[0]
    assert (first["row"], first["label"], first["predictions"]) == (3, "no", {"teacher": "no", "student": "yes"})
    assert first["right"] == {"teacher": True, "student": False} and first["sure"]["student"] == pytest.approx(0.8)
    assert first["inputs"]["text"] == "what? 3"


def test_a_row_that_the_teacher_did_not_answer_is_no_difference(data: PreparedData, found: samples.Answered) -> None:
    found.heard[[1, 2]] = False
    assert differing(data, found, teacher="teacher", student="student").tolist() == [3, 7]
    assert "teacher" not in describe_rows(data, found, np.array([2]))[0]["predictions"]


def test_other_samples_are_half_mistakes_and_none_twice(data: PreparedData, found: samples.Answered) -> None:
    shown = differing(data, found, teacher="teacher", student="student")
    places = others(found, shown, count=4)
    assert set(places[:2].tolist()) == {4, 8} and len(places) == 4  # both are wrong there, alike
    assert not set(places.tolist()) & set(shown.tolist())


def test_sounds_have_players_as_long_as_there_is_room(data: PreparedData, found: samples.Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    one = describe_rows(data, found, np.array([2]), whole=True)[0]["inputs"]["audio"]
    monkeypatch.setattr(samples, "PLAYERS", len(one) + 10)
    shown = [row["inputs"]["audio"] for row in describe_rows(data, found, np.array([2, 3, 7]), whole=True)]
    assert ["<audio" in sound for sound in shown] == [True, False, False] and all("<svg" in sound for sound in shown)


def test_differences_are_counted_by_who_is_right() -> None:
    labels, teacher, student = map(np.array, (LABELS, TEACHER, STUDENT))
    counted = count_differing(student == teacher, teacher == labels, student == labels)
    parts = {"teacher_alone": 2, "this_alone": 1, "neither": 1, "both": 0}
    assert counted == {"value": 4, "unit": "samples", "samples": 9, **parts}
    said = "4 of 9 test rows are answered otherwise; right is the teacher alone on 2, int8 alone on 1, neither on 1."
    assert differing_in_words(counted, "int8") == said
    assert differing_in_words({**counted, "value": 0}, "int8") == "They answer alike on all 9 test rows."


def test_inputs_in_words() -> None:
    assert in_words("a &lt;b&gt;") == "a <b>"
    assert in_words('<img alt="the input image" src="data:,">') == "(the input image)"


def test_origin_names_the_run_that_made_a_stage() -> None:
    assert origin({"reused": False, "run": "a"}) == "made"
    assert origin({"reused": True, "run": "first", "created": "2026-01-02T03:04:05+00:00"}) == "reused from first, 2026-01-02"
