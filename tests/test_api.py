"""The door from Python: `import compress` is quick, and its functions do what the commands do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import compress
from compress.errors import RecipeError

RECIPE = Path(__file__).parents[1] / "recipes" / "smoke.yaml"


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, compress; print([m for m in ('torch', 'pydantic', 'numpy', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=RECIPE.parents[1])
    assert done.stdout.strip() == "[]"


def test_check_lists_every_fault_and_load_raises_them() -> None:
    assert compress.check(RECIPE) == []
    faults = compress.check(RECIPE, ["data.inputs.image.size=4", "distill.losses=[{name: kdd}]"])
    assert len(faults) == 2 and "at least 8" in faults[0] and "did you mean 'kd'" in faults[1]
    with pytest.raises(RecipeError):
        compress.load_recipe(RECIPE, ["data.inputs.image.size=4"])


def test_plan_names_every_stage_and_makes_nothing(tmp_path: Path) -> None:
    stages = compress.plan(compress.load_recipe(RECIPE), runs=tmp_path / "runs", threads=1)
    assert [stage.name for stage in stages][:4] == ["data", "features", "teacher", "export_teacher"]
    assert {stage.action for stage in stages} == {"run"} and not (tmp_path / "runs").exists()


def test_a_finished_run_opens_its_bundle_and_answers_again_and_again(whole_run, picture: Path) -> None:
    result = whole_run.result
    assert result.report.is_file() and result.bundle.is_dir()
    bundle = compress.open_bundle(result.bundle)
    answers = [bundle.predict(image=str(picture), text="what color is the circle?") for _ in range(2)]
    assert answers[0] == answers[1] and answers[0]["label"] in bundle.bundle.labels
