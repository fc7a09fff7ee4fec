"""The benchmark of the shipped recipes: which arms there are, that each loads, and the tables that results become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from compress.errors import DataError, RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.sections import Fusion

RECIPES = Path(__file__).parents[1] / "recipes"


def result(seed: int, **changes: Any) -> dict[str, Any]:
    """A result as modalities.py writes it, as far as the tables read it."""
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "versions": {"torch": "2.13"}, "git_commit": "a" * 40, "git_clean": True}
    test = {"teacher": 95.0 + seed, "alone": 80.0 + seed, "distilled": 84.0 + 3 * seed, "shipped": 84.0}
    found = {
        "samples": 900,
        "test": {model: {"value": value} for model, value in test.items()},
        "majority": {"value": 10.0},
        "shipped": {"file": "int8_qat", "arm": "distilled"},
        "teacher_size_bytes": 30_000_000,
    }
    files = {"int8_qat": {"size_bytes": 150_000, "median_ms": 0.5, "p95_ms": 0.6, "teacher_over_this": {"value": 40.0}}}
    over = {"difference": 15.0, "low": 12.0, "high": 18.04}
    told = {
        "recipe": "trimodal_stamps",
        "arm": "as shipped",
        "seed": seed,
        "overrides": [],
        "rows": {"train": 1500},
        "noisy": False,
        "subsets": [],
    }
    return {
        **origin,
        **told,
        "found": found,
        "files": files,
        "teacher_over_alone": over,
        "seconds": {"data": 60.0, "distill": 540.0},
        **changes,
    }


def test_table_has_a_line_for_each_recipe_and_arm(program: Any) -> None:
    results = [result(1), result(0, arm="image alone"), result(0), result(0, recipe="audio_digits")]
    lines = program("modalities").table(results).splitlines()[2:5]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| spoken digits, test speakers theo and yweweler", "as shipped"],
        ["| stamps", "as shipped"],
        ["| trimodal_stamps", "image alone"],
    ]
    assert lines[1].split(" | ")[2:] == [
        "1,500, 900",
        "0, 1",
        "10.0",
        "95.50 ± 0.71",
        "80.50 ± 0.71",
        "85.50 ± 2.12",
        "+5.00 ± 1.41",  # 84 - 80 and 87 - 81
        "84.00 ± 0.00",
        "int8_qat of the one distilled, int8_qat of the one distilled",
        "+15.0 (+12.0 to +18.0), +15.0 (+12.0 to +18.0)",
        "150",
        "200x",
        "0.50",
        "40x",
        "10 |",
    ]


def test_times_of_a_noisy_machine_are_not_told(program: Any) -> None:
    line = program("modalities").table([result(0), result(1, noisy=True)]).splitlines()[2]
    assert "| noisy machine | noisy machine | 10 |" in line


def test_runs_whose_rows_may_lack_inputs_have_a_line_for_each_set_of_them(program: Any) -> None:
    modalities = program("modalities")
    subsets = [
        {"inputs": names, "accuracy": {"teacher": {"value": share}, "int8_qat": {"value": share - 0.25}}}
        for names, share in ((["image", "text"], 0.75), (["image"], 0.5))
    ]
    tables = modalities.tables([result(0, subsets=subsets), result(1, subsets=subsets), result(0, recipe="audio_digits")])
    assert tables["modalities-gaps"].splitlines()[2:4] == [
        "| trimodal_stamps, as shipped: image, text | 0, 1 | 75.00 ± 0.00 | 50.00 ± 0.00 |",
        "| trimodal_stamps, as shipped: image | 0, 1 | 50.00 ± 0.00 | 25.00 ± 0.00 |",
    ]
    assert list(modalities.tables([result(0)])) == ["modalities"]


def test_arms_are_the_recipe_its_other_splits_and_each_input_alone(program: Any) -> None:
    modalities = program("modalities")
    found = {name: modalities.RECIPES[name].arms(yaml.safe_load((RECIPES / f"{name}.yaml").read_text())) for name in modalities.RECIPES}
    assert list(found["trimodal_stamps"]) == ["as shipped", *(f"fold {k}" for k in range(1, 5)), "image alone", "text alone", "audio alone"]
    assert [len(arms) for name, arms in found.items() if name != "trimodal_stamps"] == [3, 1, 1, 3]
    assert all(arms["as shipped"] == [] for arms in found.values())


@pytest.mark.parametrize(
    ("name", "modality"), [*(("trimodal_stamps", m) for m in ("image", "text", "audio")), *(("mobile_vqa", m) for m in ("image", "text"))]
)
def test_a_recipe_is_left_one_of_its_inputs(program: Any, name: str, modality: str) -> None:
    given = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    recipe = load_recipe(RECIPES / f"{name}.yaml", program("modalities").only(given, modality)).recipe
    assert recipe.modalities == (modality,) and recipe.student.fusion == Fusion()
    assert recipe.teacher.encoders and list(recipe.teacher.encoders.modalities) == list(recipe.student.encoders.modalities) == [modality]
    assert recipe.distill.augment.views == given["distill"]["augment"]["views"] and not recipe.distill.train.modality_dropout


def test_data_is_named_by_recipe_with_a_path_for_each_file(program: Any) -> None:
    modalities = program("modalities")
    args = modalities.parse(["--data", "text_intents", "a.csv", "b.csv", "--data", "image_photos", "c"])
    assert modalities.data_of(args.data) == {"text_intents": [Path("a.csv"), Path("b.csv")], "image_photos": [Path("c")]}
    for wrong in (["text_intents", "a.csv"], ["mobile_vqa", "x"], ["photos", "x"]):
        with pytest.raises(DataError, match=f"--data {wrong[0]}: 1 path.* text_intents: data.options.train, data.options.test"):
            modalities.data_of([wrong])


def test_every_recipe_says_where_its_files_are_named(program: Any, tmp_path: Path) -> None:
    for name, shipped in program("modalities").RECIPES.items():
        try:
            load_recipe(RECIPES / f"{name}.yaml", [f"{place}={tmp_path / 'x.csv'}" for place in shipped.files])
        except RecipeError as error:
            assert all("x.csv" in problem for problem in error.problems), error.problems
