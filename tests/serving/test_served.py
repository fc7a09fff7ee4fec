"""What is served is verified first, and a run's teacher answers beside its student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.errors import BundleError, StoreError
from compress.serving.served import open_served


@pytest.mark.parametrize("name", ["recipe.yaml", "device/main.py", "model.onnx"])
def test_changed_bundle_is_not_served(bundle: Path, name: str) -> None:
    with open(bundle / name, "ab") as file:
        file.write(b"\n")
    with pytest.raises(BundleError, match=name):
        open_served(bundle, None)


def test_samples_of_a_bundle_show_text_as_words(bundle: Path) -> None:
    served = open_served(bundle, None)
    assert [member.role for member in served.members] == ["student"]
    assert len(served.samples) == 12
    assert all(word in " [PAD][UNK]whatcolouristhesquarereda?" for sample in served.samples for word in sample.shown["text"].split())


def test_teacher_of_a_run_answers_beside_the_student(own_run, picture: Path) -> None:
    run = own_run.runs / "small"
    bundle = (run / "12-bundle" / "bundle").resolve()
    served = open_served(bundle, run)
    answers = served.answer({"image": picture.read_bytes(), "text": "what shape is it?"})
    assert [answer["role"] for answer in answers] == ["student", "teacher"]
    assert answers[1]["size_bytes"] > 20 * answers[0]["size_bytes"]


def test_answers_to_samples_are_those_of_the_benchmark(own_run) -> None:
    from compress.reporting.runs import read_run

    run = own_run.runs / "small"
    served, found = open_served((run / "12-bundle" / "bundle").resolve(), run), read_run(run)
    test, rows = found.data.split("test"), found.answers["rows"]
    names = {"student": found.summary["shipped_model"], "teacher": "teacher"}
    picked = np.linspace(0, len(rows) - 1, 12).astype(int)
    for number, place in enumerate(picked):
        assert served.samples[number].label == found.data.labels[test.labels[rows[place]]]
        for answer in served.answer_sample(number):
            assert answer["label"] == found.data.labels[found.answers[f"model_{names[answer['role']]}"][place]]


def test_changed_teacher_is_not_served(own_run) -> None:
    run = own_run.runs / "small"
    file = next(run.glob("*-export_teacher")) / "teacher.onnx"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # a hard link of another test's file
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"teacher\.onnx"):
        open_served((run / "12-bundle" / "bundle").resolve(), run)
