"""The recipe that `compress init` writes."""

from pathlib import Path

import pytest

from compress.errors import CompressError, RecipeError
from compress.grammar import load_recipe
from compress.starter import write_starter


def test_the_starter_passes_the_check_once_its_files_are_there(tmp_path: Path):
    file = tmp_path / "my photos.yaml"
    write_starter(file)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert [problem.split(":")[1].split(" ")[1] for problem in caught.value.problems] == ["data.options.train", "data.options.test"]
    (tmp_path / "train.csv").touch()
    (tmp_path / "test.csv").touch()
    assert load_recipe(file).recipe.name == "my_photos"


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("mine")
    with pytest.raises(CompressError, match="--force"):
        write_starter(file)
    assert file.read_text() == "mine"
    write_starter(file, force=True)
    assert "name: a\n" in file.read_text()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(CompressError, match="cannot be written: No such file"):
        write_starter(tmp_path / "no" / "a.yaml")
