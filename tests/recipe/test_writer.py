"""Recipes written from what was seen: they pass the check, and their comments hold the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.recipe.choices import choose
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.recipe.seen import Pictures, Seen, Sounds
from compress.recipe.writer import WIDTH, quoted, recipe_text, told

ODD = ["file name", "Antwort", 'the "class"', "a: b # c", "0", "null", "名前", "x\ty", "e\u0301-\U0001f600", "no", "{a}", "yes\u2028no"]


def written(folder: Path, seen: Seen) -> tuple[LoadedRecipe, str]:
    """The recipe, loaded; and the file's text."""
    for file in seen.files.values():
        (folder / file).touch()
    text = recipe_text("mine", "my.yaml", seen, choose(seen))
    (folder / "my.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "my.yaml"), text


@pytest.mark.parametrize(
    "inputs",
    [{}, {"tokens": None}, {"side": None}, {"side": 10, "tokens": None}, {"side": None, "tokens": None, "sound": 1.2}, {"sound": 0.4}],
    ids=["both", "image", "text", "small", "audio", "all"],
)
@pytest.mark.parametrize("rows", [40, 3_000, 50_000])
def test_a_written_recipe_passes_the_check(make_seen: Callable, tmp_path: Path, inputs: dict, rows: int):
    loaded, text = written(tmp_path, make_seen(rows, **inputs))
    assert loaded.recipe.data.options["columns"]["label"] == "class"
    assert loaded.recipe.distill.compare_alone
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_pairs_without_a_label_become_a_recipe_of_retrieval(make_seen: Callable, tmp_path: Path):
    given = {"task": "retrieval", "task_options": {"size": 128}, "answers": ("rows that share an input are alike",), "labels": {}}
    loaded, text = written(tmp_path, make_seen(columns={"image": "file", "text": "caption"}, **given))
    assert loaded.recipe.data.task == "retrieval" and "label" not in loaded.recipe.data.options["columns"]
    assert [loss.name for loss in loaded.recipe.distill.losses] == ["tower_contrast", "vector_kd", "tower_affinity"]
    assert 'description: "Finds what belongs together by a picture and a text."' in text and "# rows that share an input are alike." in text


@pytest.mark.parametrize("name", ODD)
def test_names_and_labels_of_any_kind_survive(make_seen: Callable, tmp_path: Path, name: str):
    seen = make_seen(columns={"image": name, "text": "b", "label": "c"}, labels={name: 9, "d": 3}, ignored={name: "empty"})
    loaded, text = written(tmp_path, seen)
    assert loaded.recipe.data.options["columns"]["image"] == name
    assert len(text.split("\n")) == len(text.splitlines()) + 1  # no comment ends early


def test_small_pictures_are_read_at_half_the_stride(make_seen: Callable, tmp_path: Path):
    small = Pictures(looked=9, sides=(32, 32, 32), longest=32, alike=True)
    loaded, _ = written(tmp_path, make_seen(pictures=small))
    recipe: Any = loaded.recipe
    assert recipe.data.inputs.image.size == 32
    assert recipe.student.encoders.image.options["stride"] == 16
    assert recipe.teacher.inputs is None


def test_sounds_are_read_by_whisper_and_varied_where_they_group_the_rows(make_seen: Callable, tmp_path: Path):
    sounds = Sounds(looked=9, seconds=(0.4, 0.8, 2.5), rate_hz=8000)
    loaded, text = written(tmp_path, make_seen(side=None, tokens=None, sounds=sounds, columns={"audio": "clip", "label": "class"}))
    recipe: Any = loaded.recipe
    assert recipe.data.inputs.audio.model_dump() == {"seconds": 1.0, "rate": 8000}
    assert recipe.teacher.encoders.audio.model == "whisper_tiny" and recipe.teacher.inputs.audio.rate == 16000
    assert recipe.student.encoders.audio.model == "ds_cnn"
    assert recipe.distill.augment.views > 1 and recipe.distill.augment.audio.speed > 0
    assert "half of 9 sounds have up to 0.4 s, 95 of 100 up to 0.8 s, the longest 2.5 s" in " ".join(text.replace("#", "").split())
    loaded, _ = written(tmp_path, make_seen(sound=1.0))
    beside: Any = loaded.recipe
    assert beside.distill.augment.audio is None and beside.distill.augment.image.flip  # pictures group the rows


def test_broken_and_unlabelled_rows_are_allowed_for_with_their_counts(make_seen: Callable, tmp_path: Path):
    loaded, text = written(tmp_path, make_seen(broken={"broken image": 3, "no label": 1}, unlabelled=20))
    assert (loaded.recipe.data.on_bad_row, loaded.recipe.data.allow_unlabelled) == ("skip", True)
    assert "broken image 3, no label 1" in " ".join(text.split())
    loaded, text = written(tmp_path, make_seen())
    assert (loaded.recipe.data.on_bad_row, loaded.recipe.data.allow_unlabelled) == ("error", False)
    assert "200 pictures were read to the end" in text


def test_comments_say_what_makes_the_figures_weak(make_seen: Callable, tmp_path: Path):
    seen = make_seen(
        200, labels={"cat": 150, "a b": 45, "dog": 5}, groups=(12, 3), ceiling=0.31, ignored={"id": "another in every row, as ids are"}
    )
    text = " ".join(written(tmp_path, seen)[1].replace("\n", " ").replace("# ", "").split())
    assert "always cat would be right in 75.0 % of the training rows" in text
    assert "skewed, 30 to 1" in text
    assert "fewer than 10 rows, which teach little: 1 (dog)" in text
    assert "about 40 rows are held out" in text
    assert "known to about 15 points either way" in text  # 196 * sqrt(0.25 / 40) = 15.5
    assert "at best 31 % of the training rows can be right" in text
    assert "The test file has 3 of them too" in text
    assert "id is not read: another in every row, as ids are" in text


def test_a_validation_file_is_named_and_nothing_is_held_out(make_seen: Callable, tmp_path: Path):
    files = {"train": "train.csv", "validation": "my val.csv", "test": "test.csv"}
    loaded, text = written(tmp_path, make_seen(files=files, validation=250))
    assert loaded.recipe.data.options["validation"] == "my val.csv"
    assert "validation_fraction" not in text
    assert "validation rows tell little" not in text


@pytest.mark.parametrize("value", [*ODD, "plain", "a/b.csv", "1e3", "2024-01-31", " a "])
def test_quoted_strings_stay_what_they_are(value: str, tmp_path: Path):
    from compress.recipe.yaml_source import read_yaml

    assert read_yaml(f"a: {quoted(value)}").data == {"a": value}
    assert read_yaml(f"a: {{b: {quoted(value)}}}").data == {"a": {"b": value}}


def test_the_command_tells_what_is_read_and_how_long_it_may_take(make_seen: Callable):
    seen = make_seen(broken={"broken image": 3}, ignored={"id": "another in every row, as ids are"})
    assert list(told(seen, choose(seen), file="my.yaml"))[:3] == [
        'reads "file name" as image, question as text, class as label',
        "does not read id: another in every row, as ids are",
        "3 rows that cannot be used (broken image) will be left out",
    ]
