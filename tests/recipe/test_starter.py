"""The example that `compress init` writes where it is given no files."""

from pathlib import Path

import pytest

from compress.errors import CompressError, RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.starter import check_free, run_name, starter_text, write_recipe


def test_the_example_passes_the_check_once_its_files_are_there(tmp_path: Path):
    file = tmp_path / "my photos.yaml"
    write_recipe(file, starter_text(run_name(file)))
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
        write_recipe(file, "name: a\n")
    with pytest.raises(CompressError, match="--force"):
        check_free(file, force=False)
    assert file.read_text() == "mine"
    write_recipe(file, "name: a\n", force=True)
    assert file.read_text() == "name: a\n"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(CompressError, match="cannot be written: No such file"):
        write_recipe(tmp_path / "no" / "a.yaml", "")


@pytest.mark.parametrize(("file", "name"), [("my photos.yaml", "my_photos"), ("é.yaml", "mine"), ("_x.y.yaml", "x.y")])
def test_a_run_is_called_as_its_recipe(file: str, name: str):
    assert run_name(Path(file)) == name
