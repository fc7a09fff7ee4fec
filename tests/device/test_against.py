"""Ranking a vector against a folder, a file of lines, and stored vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.device.against import rank_against
from compress.device.errors import DeviceError
from compress.device.main import main
from compress.device.predictor import Predictor
from compress.stages.bundle import write_bundle
from compress.tasks.task import task


@pytest.fixture
def predictor(tmp_path: Path, bundle_arguments: Callable[..., dict[str, Any]]) -> Predictor:
    """A bundle of texts whose outputs are taken for vectors."""
    arguments = bundle_arguments(("text",))
    outputs = len(arguments["labels"])
    write_bundle(tmp_path / "bundle", **{**arguments, "task": task("embedding", options={"size": outputs})})
    return Predictor(tmp_path / "bundle")


TEXTS = ["what is the square ?", "is the circle red ?", "what colour is the square ?"]


def nearest(predictor: Predictor, path: Path, *, top: int = 10) -> list[dict[str, Any]]:
    return rank_against(predictor, predictor.predict(text=TEXTS[2]), path, top=top)


def test_lines_are_ranked_the_nearest_first(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("\n\n".join(TEXTS) + "\n")
    ranked = nearest(predictor, tmp_path / "items.txt")
    assert {entry["item"] for entry in ranked} == {*TEXTS} and ranked[0]["item"] == TEXTS[2]
    cosines = [entry["cosine"] for entry in ranked]
    assert cosines[0] == pytest.approx(1, abs=1e-5) and cosines == sorted(cosines, reverse=True)
    vectors = {text: np.array(predictor.predict(text=text)["vector"]) for text in TEXTS}
    a, b = vectors[TEXTS[2]], vectors[ranked[1]["item"]]
    assert cosines[1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)


def test_files_of_a_folder_are_items(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "items" / f"{number}.txt").write_text(text)
    (tmp_path / "items" / ".hidden").write_bytes(b"\xff")
    assert nearest(predictor, tmp_path / "items", top=1) == [{"item": "2.txt", "cosine": pytest.approx(1, abs=1e-5)}]


def test_stored_vectors_of_any_length_are_rows(predictor: Predictor, tmp_path: Path) -> None:
    own = np.array(predictor.predict(text=TEXTS[2])["vector"])
    np.save(tmp_path / "stored.npy", np.stack([-own, 7 * own]))
    assert [entry["item"] for entry in nearest(predictor, tmp_path / "stored.npy")] == ["row 1", "row 0"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "none.txt: cannot be read"),
        ("empty.txt", b" \n", "there is nothing in it to rank"),
        ("narrow.npy", np.ones((3, 2)), r"is float64 \(3, 2\); needed are finite vectors \(N, \d+\) of floats"),
        ("broken.npy", b"x", "holds no array"),
    ],
)
def test_galleries_that_cannot_be_read_are_told(predictor: Predictor, tmp_path: Path, name: str, content: Any, message: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(DeviceError, match=message):
        nearest(predictor, tmp_path / name)


def test_stored_vectors_may_be_cut_where_the_model_was_trained_for_it(predictor: Predictor, tmp_path: Path) -> None:
    own = np.array(predictor.predict(text=TEXTS[2])["vector"])
    np.save(tmp_path / "cut.npy", np.stack([-own[:2], own[:2]]))
    with pytest.raises(DeviceError, match=r"needed are finite vectors \(N, 4\) of floats"):
        nearest(predictor, tmp_path / "cut.npy")
    predictor.bundle.facts["dimensions"] = [2]
    assert [entry["item"] for entry in nearest(predictor, tmp_path / "cut.npy")] == ["row 1", "row 0"]


def test_an_item_that_cannot_be_read_is_named(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DeviceError, match="--against: a.txt: the text is no UTF-8"):
        nearest(predictor, tmp_path / "items")


def test_answers_of_another_task_do_not_rank(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = ["--question", "what colour is the square ?"]
    assert main(["predict", "--image", str(picture), *question, "--against", str(bundle)], folder=bundle) == 1
    assert "answers of the task 'single_label' are no vectors that rank; leave --against out" in capsys.readouterr().err
