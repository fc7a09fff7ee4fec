"""Which models are held against which, on seven rows whose right answers are written down."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from compress.measures.paired import compare_paired
from compress.stages.benchmark import pairs
from compress.stages.benchmark.pairs import pair_test, pair_validation
from compress.tasks.task import task

ROWS = np.arange(7)
LABELS = np.array([0, 1, 0, 2, 1, 2, 1])
IMAGES = np.array([0, 1, 0, 2, 1, 2, 0])
RIGHT = {"teacher": [1, 1, 1, 1, 1, 1, 0], "fp32": [1, 1, 1, 1, 0, 1, 1], "int8": [1, 0, 1, 0, 0, 1, 1]}
ROLES = {
    "teacher": ("teacher", "fp32"),
    "fp32": ("student", "fp32"),
    "int8": ("student", "int8_qat"),
    "int8@other": ("variant", "int8_qat"),
}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seven rows over three images; the commonest answer is 1, and who knows the text alone answers 0."""
    split = SimpleNamespace(labels=LABELS, rows={"image": IMAGES, "text": np.zeros(7, int)}, clusters=IMAGES)
    baselines = {"majority": np.ones(7, int), "text_alone": np.zeros(7, int)}
    monkeypatch.setattr(pairs, "baseline_answers", lambda data: {} if data.bare else baselines)
    return SimpleNamespace(split=lambda name: split, task=task("single_label"), bare=False)


def describe(names: tuple[str, ...]) -> dict[str, dict]:
    return {name: {"role": ROLES[name][0], "precision": ROLES[name][1], "accuracy": {}} for name in names}


def right(name: str) -> np.ndarray:
    return np.array(RIGHT[name.split("@")[0]], bool)


def test_every_model_is_held_against_teacher_float_form_and_baselines(data: SimpleNamespace) -> None:
    models = describe(tuple(ROLES))
    pair_test(models, {name: np.where(right(name), LABELS, -1) for name in ROLES}, ROWS, data=data)
    baselines = {"against_majority", "against_text_alone"}
    assert models["teacher"]["accuracy"].keys() == baselines
    assert models["fp32"]["accuracy"].keys() == {"against_teacher", *baselines}
    for name in ("int8", "int8@other"):
        accuracy = models[name]["accuracy"]
        assert accuracy.keys() == {"against_teacher", "against_fp32", *baselines}
        assert accuracy["against_fp32"] == compare_paired(right("int8"), right("fp32"), clusters=IMAGES).to_json()
        counts = {key: (paired["a_only"], paired["b_only"]) for key, paired in accuracy.items()}
        # int8 has rows 0, 2, 5 and 6; teacher 0 to 5; float all but 4; always 1: rows 1, 4 and 6; always 0: rows 0 and 2
        assert counts == {"against_teacher": (1, 3), "against_fp32": (0, 2), "against_majority": (3, 2), "against_text_alone": (2, 0)}
        assert {paired["clusters"] for paired in accuracy.values()} == {3}


def test_rows_that_were_thinned_meet_their_own_baseline_answers(data: SimpleNamespace) -> None:
    models, rows = describe(("teacher",)), np.array([1, 3, 5])
    pair_test(models, {"teacher": LABELS[rows]}, rows, data=data)
    assert models["teacher"]["accuracy"]["against_majority"]["a_only"] == 2  # row 1 has the commonest answer


def test_data_without_labels_to_learn_from_have_no_baselines(data: SimpleNamespace) -> None:
    bare = SimpleNamespace(split=data.split, task=data.task, bare=True)
    models = describe(("teacher",))
    pair_test(models, {"teacher": LABELS}, ROWS, data=bare)
    assert models["teacher"]["accuracy"] == {}


def test_validation_holds_each_file_against_the_float_form(data: SimpleNamespace) -> None:
    models = describe(tuple(ROLES))
    found = pair_validation(models, {name: right(name) for name in ("fp32", "int8")}, data.split("validation"), ROWS)
    assert {name: (entry["correct"], entry["samples"]) for name, entry in found.items()} == {"fp32": (6, 7), "int8": (4, 7)}
    assert "against_fp32" not in found["fp32"]
    assert found["int8"]["against_fp32"]["difference"] == pytest.approx(-200 / 7)
