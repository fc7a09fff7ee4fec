"""`compress` turns a big multimodal teacher into a small student that ships to devices.

From Python as from the command line: `load_recipe`, `check`, `plan`, `run` and `open_bundle`. What they need is imported when they are
called, so `import compress` is quick and loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.device.predictor import Predictor
    from compress.pipeline import PlannedStage, RunResult
    from compress.recipe.grammar import LoadedRecipe

__version__ = "0.1.0"
__all__ = ["check", "load_recipe", "open_bundle", "plan", "run"]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The checked recipe in a file; each override is `place=value`. Raises compress.errors.RecipeError with every fault at once."""
    from compress.recipe.grammar import load_recipe as load

    return load(Path(path), overrides)


def check(path: str | Path, overrides: Sequence[str] = ()) -> list[str]:
    """Every fault of a recipe, or each package that it needs and that is not installed, one line each; empty when it may run."""
    from compress.errors import RecipeError
    from compress.recipe.packages import missing_packages

    try:
        return missing_packages(load_recipe(path, overrides).recipe)
    except RecipeError as error:
        return list(error.problems)


def plan(
    recipe: LoadedRecipe, *, runs: str | Path = "runs", threads: int | None = None, device: str = "auto", store: str | None = None
) -> list[PlannedStage]:
    """For each stage whether it would be reused or run, and why. Nothing is made."""
    from compress.pipeline import plan as plan_stages

    return plan_stages(recipe, runs=Path(runs), threads=threads, device=device, store=store)


def run(
    recipe: LoadedRecipe,
    *,
    runs: str | Path = "runs",
    threads: int | None = None,
    device: str = "auto",
    store: str | None = None,
    first: str | None = None,
    last: str | None = None,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Runs a recipe from data to bundle: the result holds the summary, the misses of the budget, and the paths of report and bundle.

    Stages whose result is in the store are reused; `first` and `last` are the command's --from and --until, `store` the URL of one that machines share.
    Raises: compress.errors.CompressError, whose types say what went wrong.
    """
    from compress.pipeline import run as run_stages

    return run_stages(recipe, runs=Path(runs), threads=threads, device=device, store=store, first=first, last=last, say=say)


def open_bundle(path: str | Path, *, model: str | None = None, runtime: str = "onnxruntime_cpu", threads: int = 1) -> Predictor:
    """A bundle that answers: `open_bundle(path).predict(image="a.png", text="what is it?")`, one value for each of its inputs.

    Its files are checked against the manifest and its model is opened once. Raises compress.device.errors.DeviceError.
    """
    from compress.device.predictor import Predictor

    return Predictor(path, model=model, runtime=runtime, threads=threads)
