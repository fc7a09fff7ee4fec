"""What `compress init` sees of answers that are tags or numbers, and the recipe that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from compress.cli import app
from compress.data.answers import look_at_answers, look_at_heads
from compress.errors import DataError
from compress.io_spec import IOSpec, Port
from compress.models.student import student
from compress.recipe.grammar import load_recipe


def columns(train: list, test: list) -> dict[str, pa.ChunkedArray]:
    return {"train": pa.chunked_array([pa.array(train)]), "test": pa.chunked_array([pa.array(test)])}


def test_tags_are_counted_and_their_separator_is_found() -> None:
    found = look_at_answers(columns(["a;b", "a", " ", "b, c;a"], ["a;z", "b"]), "multi_label")
    assert found.options == {"separator": ";", "blank_is_none": True}
    assert found.labels == {"a": 3, "b": 1, "b, c": 1}
    assert (found.broken, found.unlabelled) == ({"unknown tag": 1}, 0)
    assert found.told[-1] == "any of 3 tags; 1.2 a row, none in 1 rows"


def test_lists_of_tags_need_no_separator() -> None:
    assert look_at_answers(columns([["a"], ["a", "b"], None], [["b"]]), "multi_label").options == {}


def test_numbers_are_described_and_others_counted() -> None:
    found = look_at_answers(columns(["1", "2", "x", "", "6"], ["3", ""]), "regression")
    assert (found.labels, found.unlabelled) == ({}, 1)
    assert found.broken == {"no number": 1, "no label": 1}
    assert found.told == ("a number; value 1 to 6, mean 3",)


def test_labels_of_vectors_are_counted_and_the_space_is_told() -> None:
    found = look_at_answers(columns(["x", "x", "y", ""], ["x", "z"]), "embedding")
    assert (found.options, found.labels, found.unlabelled) == ({"size": 384}, {"x": 2, "y": 1}, 1)
    assert (
        found.told[-1]
        == "vectors of 384 numbers whose cosine ranks; rows of one of 2 labels are alike; 1 to 2 rows each, and 1 labels of one row, which has no like"
    )


def test_labels_of_pairs_may_be_those_of_test_alone() -> None:
    found = look_at_answers(columns(["x", "x", "y"], ["z", "z"]), "verification")
    assert found.broken == {} and found.labels == {"x": 2, "y": 1, "z": 0}


@pytest.mark.parametrize("train", [["B-PER O", "O O O", ""], [["B-PER", "O"], ["O"] * 3, None]])
def test_labels_of_words_are_counted_and_the_longest_row_is_told(train: list) -> None:
    found = look_at_answers(
        columns(train, ["O B-LOC", "O O O O"] if isinstance(train[0], str) else [["O", "B-LOC"], ["O"] * 4]), "token_labels"
    )
    assert (found.options, found.labels, found.unlabelled) == ({"words": 3}, {"O": 4, "B-PER": 1}, 1)
    assert found.broken == {"labels that cannot be used": 2}
    assert found.told == ("3 words at most in a row of train", "one of 2 labels for each of up to 3 words; 2.5 words a row")


def test_answers_of_another_task_are_told() -> None:
    with pytest.raises(DataError, match="none of the 2 labels of the training split is a number"):
        look_at_answers(columns(["a", "b"], ["a"]), "regression")


@pytest.mark.parametrize(
    ("task", "answers"),
    [
        ("multi_label", ["big|red", "red", "big"]),
        ("regression", ["1.5", "2.5", "7"]),
        ("embedding", ["a", "b", "c"]),
        ("verification", ["a", "b", "c"]),
        ("token_labels", ["O O O O B-X", "O O B-Y I-Y O", "O O O O O"]),
    ],
)
def test_init_writes_a_recipe_that_passes_its_check(task: str, answers: list[str], tmp_path: Path) -> None:
    for split, count in (("train", 60), ("test", 20)):
        lines = [f"some words about thing {index},{answers[index % 3]}" for index in range(count)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["title,answer", *lines]) + "\n")
    files = ["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv")]
    done = CliRunner().invoke(app, ["init", str(tmp_path / "a.yaml"), *files, "--task", task, "--label", "answer"])
    assert done.exit_code == 0, done.output
    recipe = load_recipe(tmp_path / "a.yaml").recipe
    assert recipe.data.task == task
    assert recipe.distill.losses == load_recipe(tmp_path / "a.yaml", ["distill.compare_alone=false"]).recipe.distill.losses


@pytest.mark.parametrize("side", [24, 100, 300])
def test_init_writes_a_recipe_for_masks(side: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number in range(count):
            for what, shape in (("picture", (side, side, 3)), ("mask", (side, side))):
                drawn = draw.integers(0, 3, size=shape, dtype=np.uint8)
                drawn[0] = 255
                Image.fromarray(drawn).save(tmp_path / f"{split}-{number}-{what}.png")
        lines = [f"{split}-{number}-picture.png,{split}-{number}-mask.png" for number in range(count)]
        lines += ["train-0-picture.png,"] if split == "train" else []
        (tmp_path / f"{split}.csv").write_text("\n".join(["file,drawn", *lines]) + "\n")
    files = ["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"), "--task", "segmentation", "--label", "drawn"]
    done = CliRunner().invoke(app, ["init", str(tmp_path / "a.yaml"), *files])
    assert done.exit_code == 0, done.output
    recipe = load_recipe(tmp_path / "a.yaml").recipe
    assert recipe.data.options["columns"] == {"image": "file", "mask": "drawn"}
    assert recipe.data.task_options == {"stride": 8} and recipe.data.allow_unlabelled
    text = (tmp_path / "a.yaml").read_text()
    assert "3 classes by the numbers in 13 masks of train" in text and "of the places are 255" in text
    size = recipe.data.inputs.get("image").size
    assert recipe.teacher.encoders and recipe.teacher.encoders.get("image").options["size"] % size == 0
    io = IOSpec((Port("image", "uint8", (size, size, 3), 0, 255),), (Port("logits", "float32", (3 * (size // 8) ** 2,), grid=size // 8),))
    for part in (recipe.teacher.encoders, recipe.student.encoders):
        described = {"model": part.get("image").model, "options": part.get("image").options}
        assert student(io, encoders={"image": described}, head_width=8).head.sizes[0][1] == size // 8


def test_init_asks_for_the_column_of_other_answers(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("title,answer\na b,1\nc d,2\n")
    files = ["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv")]
    done = CliRunner().invoke(app, ["init", str(tmp_path / "a.yaml"), *files, "--task", "regression"])
    assert "--label COLUMN says which it is" in done.stderr
    done = CliRunner().invoke(app, ["init", str(tmp_path / "a.yaml"), *files, "--task", "regresion"])
    assert "unknown task 'regresion' (did you mean 'regression'?)" in done.stderr


def test_each_column_becomes_a_head_of_the_task_that_its_cells_are_of() -> None:
    train = {
        "Stock level": [*"123", "7", "9", ""] * 5,
        "price": [f"{place}.5" for place in range(29)] + [""],
        "tags": ["a|b", "a", "b", "a|b", "a", ""] * 5,
        "state": ["up", "down", "up", "", "up", ""] * 5,
    }
    tables = {split: {name: pa.chunked_array([pa.array(cells)]) for name, cells in train.items()} for split in ("train", "test")}
    answers, heads = look_at_heads(tables)
    assert {name: (head.task, head.column) for name, head in heads.items()} == {
        "stock_level": ("single_label", "Stock level"), "price": ("regression", "price"), "tags": ("multi_label", "tags"),
        "state": ("single_label", "state"),
    }  # fmt: skip
    assert heads["tags"].options == {"separator": "|", "blank_is_none": True}
    assert heads["state"].told == "classification into 2 labels, 20 of 30 training rows"
    assert (answers.unlabelled, answers.broken) == (0, {})  # a blank cell of tags is a row without any


def test_init_writes_a_head_for_each_label_and_the_recipe_passes_the_check(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [f"what is row {place} about,{'up' if place % 2 else 'down'},{place}.25" for place in range(60)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,state,Unit price", *rows]) + "\n")
    files = ["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv")]
    recipe = tmp_path / "my.yaml"
    asked = ["init", str(recipe), *files, "--task", "several", "--label", "state"]
    assert CliRunner().invoke(app, asked).exit_code != 0  # one head is no several
    done = CliRunner().invoke(app, [*asked, "--label", "Unit price"])
    assert done.exit_code == 0, done.output
    assert 'reads text as text, state as head state, "Unit price" as head unit_price' in done.output
    loaded = load_recipe(recipe).recipe
    assert {name: (head.task, head.column) for name, head in loaded.data.heads.items()} == {
        "state": ("single_label", None), "unit_price": ("regression", "Unit price")
    }  # fmt: skip
    assert [(loss.head, loss.name) for loss in loaded.distill.losses][-1] == ("unit_price", "number_kd")
    assert "label" not in loaded.data.options["columns"] and "Answers state and unit_price by a text." in recipe.read_text()
    assert CliRunner().invoke(app, ["init", str(recipe), *files, "--label", "state", "--label", "text", "--force"]).exit_code != 0
