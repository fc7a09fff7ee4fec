"""`compress run` started several times by a launcher: the same students as by one process, said and published once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from number_rows import write_numbers

from compress.errors import RecipeError
from compress.making import check_batches
from compress.pipeline import plan, run
from compress.ranks.group import here
from compress.recipe.grammar import load_recipe
from compress.store.artifacts import Artifact, load

Start = Callable[..., list[subprocess.Popen[str]]]
STAGES = ("data", "features", "teacher", "targets", "alone", "distill", "quantize")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("dealt"))


@pytest.fixture(scope="module")
def by_two(recipe: Path, start: Start) -> list[str]:
    """What two processes said."""
    arguments = ["-m", "compress", "run", str(recipe), "--until", "quantize", "--threads", "2", "--runs", str(recipe.parent / "two")]
    processes = start(2, *arguments)
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert ends[1] == ("", "")
    return ends[0][0].splitlines()


def made(runs: Path, name: str) -> Artifact:
    return load(next((runs / ".store" / name).iterdir()))


def test_two_processes_make_the_students_of_one(recipe: Path, by_two: list[str]) -> None:
    assert [name for name in STAGES if any(f"-{name} " in line and " made " in line for line in by_two)] == list(STAGES)
    run(load_recipe(recipe), runs=recipe.parent / "one", threads=1, last="quantize", say=lambda line: None)
    for name in ("teacher", "distill", "quantize"):
        one, two = (made(recipe.parent / runs, name) for runs in ("one", "two"))
        files = [{file for file in artifact.files if "tfevents" not in file} for artifact in (one, two)]
        assert one.fingerprint == two.fingerprint and files[0] == files[1], name
        histories = [artifact.details["history"] for artifact in (one, two)]
        curves = [[point["loss"] for point in history["curve"]] for history in histories]
        assert len(curves[0]) > 3 and curves[1] == pytest.approx(curves[0], rel=1e-3), name
    assert here().world == 1


def test_what_two_made_one_goes_on_with(recipe: Path, by_two: list[str]) -> None:
    planned = plan(load_recipe(recipe), runs=recipe.parent / "two", threads=2)
    assert {stage.name: stage.action for stage in planned if stage.name in STAGES} == dict.fromkeys(STAGES, "reuse")
    assert not list((recipe.parent / "two" / ".store" / "partial").iterdir())


def test_a_batch_smaller_than_the_processes_is_refused_before_anything_is_made(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="a batch of 16 inputs cannot be dealt to 17 processes; start 16 at most"):
        check_batches(load_recipe(recipe).recipe, 17)
    check_batches(load_recipe(recipe).recipe, 16)
