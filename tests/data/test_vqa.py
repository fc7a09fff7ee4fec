"""VQA v2: questions, answers and images joined as the official files name them, with the answers that a model knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.data.vqa import vqa
from compress.errors import DataError


def write_part(root: Path, part: str, rows: list[tuple[int, str, str, str]]) -> None:
    """rows: (image, question, answer, type of answer)."""
    questions = [{"image_id": image, "question": text, "question_id": number} for number, (image, text, _, _) in enumerate(rows)]
    answers = [
        {"question_id": number, "image_id": image, "multiple_choice_answer": answer, "answer_type": kind}
        for number, (image, _, answer, kind) in enumerate(rows)
    ]
    (root / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(json.dumps({"questions": questions[::-1]}))
    (root / f"v2_mscoco_{part}_annotations.json").write_text(json.dumps({"annotations": answers}))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three questions to train on and one to test, and the config of a model that knows yes, no and 2."""
    (tmp_path / "vqa").mkdir()
    train = [(9, "Is it red?", "yes", "yes/no"), (9, "How many?", "2", "number"), (131074, "What is it?", "cat", "other")]
    write_part(tmp_path / "vqa", "train2014", train)
    write_part(tmp_path / "vqa", "val2014", [(42, "Is it day?", "no", "yes/no")])
    (tmp_path / "config.json").write_text(json.dumps({"label2id": {"yes": 1, "no": 0, "2": 2}}))
    return tmp_path


def test_rows_are_questions_with_their_image_and_commonest_answer(archive: Path) -> None:
    tables = vqa(base=archive, path="vqa", answers="config.json").read()
    first, second, third = tables["train"].to_pylist()
    assert (first["text"], first["label"], first["kind"]) == ("Is it red?", "yes", "yes/no")
    assert first["image"] == second["image"] == str(archive / "vqa" / "train2014" / "COCO_train2014_000000000009.jpg")
    assert third["image"].endswith("COCO_train2014_000000131074.jpg")
    assert tables["test"]["image"][0].as_py().endswith("val2014/COCO_val2014_000000000042.jpg")


def test_answers_are_the_models_in_its_order_and_others_have_no_label(archive: Path) -> None:
    labels = vqa(base=archive, path="vqa", answers="config.json").read()["train"]["label"]
    assert labels.chunk(0).dictionary.to_pylist() == ["no", "yes", "2"] and labels.to_pylist() == ["yes", "2", None]


def test_identity_follows_questions_and_answers(archive: Path) -> None:
    first = vqa(base=archive, path="vqa", answers="config.json").identity
    (archive / "other.json").write_text(json.dumps({"label2id": {"yes": 0, "no": 1}}))
    other = vqa(base=archive, path="vqa", answers="other.json").identity
    write_part(archive / "vqa", "val2014", [(42, "Is it night?", "no", "yes/no")])
    assert len({first, other, vqa(base=archive, path="vqa", answers="config.json").identity}) == 3


def test_what_is_missing_is_told(archive: Path) -> None:
    with pytest.raises(DataError, match=r"data.options.answers: .*nothing.json is not there"):
        vqa(base=archive, path="vqa", answers="nothing.json")
    (archive / "empty.json").write_text("{}")
    with pytest.raises(DataError, match=r"data.options.answers: .*empty.json has no label2id; give the config.json of the teacher"):
        vqa(base=archive, path="vqa", answers="empty.json")
    with pytest.raises(DataError, match=r"data.options.path: .*train2014_questions.json is not there; visualqa.org/download.html has"):
        vqa(base=archive, path="nothing", answers="config.json")
    (archive / "vqa" / "v2_OpenEnded_mscoco_val2014_questions.json").write_text('{"questions": []}')
    with pytest.raises(DataError, match=r"1 answers of v2_mscoco_val2014_annotations.json are to no question of v2_OpenEnded"):
        vqa(base=archive, path="vqa", answers="config.json").read()
