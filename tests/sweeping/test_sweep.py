"""A sweep: what is asked is checked first, trials share what they can, an interrupted one goes on, and the winner is a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.errors import CompressError, RecipeError
from compress.recipe.grammar import load_recipe, load_section
from compress.recipe.sweep import Sweep
from compress.store.store import RunFolder
from compress.sweeping.report import sweep_markdown
from compress.sweeping.study import Found, Result, read_sweep, sweep

RECIPE = """\
name: rows
data: {source: manifest, options: {train: train.csv, test: test.csv}, inputs: {numbers: {size: 2}}}
teacher: {source: fit, encoders: {numbers: {model: raw}}, head_width: 8, train: {epochs: 30, learning_rate: 0.03, trackers: []}}
student: {encoders: {numbers: {model: mlp, options: {width: 8}}}, head_width: 8}
distill: {train: {epochs: 30, learning_rate: 0.03, trackers: []}}
quantize: null
"""
SWEEP = "{sampler: grid, places: {student.head_width: [8, 16]}}\n"


@dataclass(frozen=True)
class Swept:
    """A sweep that was interrupted once, and its result; what was said before and after."""

    folder: Path
    before: list[str]
    after: list[str]
    result: Result


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over rows of two numbers, whose label is the sign of the first, and a sweep of it."""
    folder, rng = tmp_path_factory.mktemp("sweep"), np.random.default_rng(0)
    for split, count in (("train", 80), ("test", 20)):
        rows = rng.normal(size=(count, 2)).round(3)
        lines = [f"{a} {b},{'up' if a > 0 else 'down'}" for a, b in rows]
        (folder / f"{split}.csv").write_text("\n".join(["numbers,label", *lines]) + "\n")
    (folder / "rows.yaml").write_text(RECIPE)
    (folder / "wide.yaml").write_text(SWEEP)
    return folder


@pytest.fixture(scope="module")
def swept(files: Path) -> Iterator[Swept]:
    """Both trials; the first one was interrupted before its result was written down."""
    before: list[str] = []

    def interrupt(line: str) -> None:
        before.append(line)
        raise KeyboardInterrupt

    def start(say) -> Result:
        config = load_section(files / "wide.yaml", Sweep, like="")
        return sweep(load_recipe(files / "rows.yaml"), config, name="wide", runs=files / "runs", threads=1, device="cpu", say=say)

    with pytest.raises(KeyboardInterrupt):
        start(interrupt)
    after: list[str] = []
    yield Swept(files, before, after, start(after.append))


def test_an_interrupted_sweep_goes_on_with_the_same_trial(swept: Swept) -> None:
    assert len(swept.before) == 1 and swept.after[0] == swept.before[0]  # the same run, values and accuracy
    assert [trial.name for trial in swept.result.trials] == ["wide-0", "wide-2"]  # trial 1 is trial 0 again
    assert {trial.values["student.head_width"] for trial in swept.result.trials} == {8, 16}


def test_trials_share_the_stages_above_the_first_that_differs(swept: Swept) -> None:
    first, second = (RunFolder(swept.folder / "runs" / trial.name).links() for trial in swept.result.trials)
    assert list(first) == ["data", "features", "teacher", "targets", "distill"]  # accuracy alone needs no more
    assert {stage for stage in first if first[stage] != second[stage]} == {"distill"}


def test_a_finished_sweep_is_read_again_and_has_a_front(swept: Swept) -> None:
    assert read_sweep("wide", runs=swept.folder / "runs") == swept.result
    best = max(trial.objectives["accuracy"] for trial in swept.result.trials)
    assert {trial.objectives["accuracy"] for trial in swept.result.front} == {best} and best > 50
    assert swept.result.importances == {}, "two trials do not tell what mattered"


def test_the_winning_recipe_is_written_with_its_values(swept: Swept) -> None:
    words = ["sweep", "best", "wide", "--runs", str(swept.folder / "runs")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    winner = load_recipe(swept.folder / "rows.best.yaml").recipe
    assert winner.student.head_width == swept.result.front[0].values["student.head_width"]
    assert winner.model_copy(update={"student": None}) == load_recipe(swept.folder / "rows.yaml").recipe.model_copy(
        update={"student": None}
    )
    assert "is there already" in CliRunner().invoke(app, words).stderr
    assert "no finished trial 7" in CliRunner().invoke(app, [*words, "--trial", "7"]).stderr


def test_a_sweep_of_other_places_needs_another_name(swept: Swept) -> None:
    (swept.folder / "other.yaml").write_text("{sampler: grid, places: {student.dropout: [0.0, 0.1]}}")
    config = load_section(swept.folder / "other.yaml", Sweep, like="")
    with pytest.raises(RecipeError, match=r"its trials are of another sweep \(places differ\)"):
        recipe = load_recipe(swept.folder / "rows.yaml")
        sweep(recipe, config, name="wide", runs=swept.folder / "runs", threads=1, device="cpu", say=print)


def test_every_value_is_checked_before_anything_is_made(files: Path) -> None:
    (files / "bad.yaml").write_text("{sampler: grid, places: {student.head_width: [8, many], student.hed_width: [8]}}")
    told = CliRunner().invoke(app, ["sweep", str(files / "rows.yaml"), str(files / "bad.yaml"), "--runs", str(files / "nowhere")])
    assert told.exit_code == 2 and len(told.stderr.splitlines()) == 2
    assert "student.head_width" in told.stderr and "did you mean 'head_width'" in told.stderr
    assert not (files / "nowhere").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{sampler: grid, places: {seed: {low: 0, high: 3}}}", "a grid needs lists of values, and seed is a range"),
        ("places: {seed: [0, 1]}", "say how many trials tpe may make"),
        ("{trials: 2, places: {seed: {low: 3, high: 3}}}", "low 3 must be below high 3"),
        ("{trials: 2, places: {seed: {low: 3}}}", "give a list of values, or low and high"),
        ("{trials: 2, places: {seed: {low: 0, high: 3, log: true}}}", "log needs a low above 0"),
        ("{trials: 2, objectives: [test_accuracy], places: {seed: [0, 1]}}", "objectives"),
        ("{trials: 2, places: {seed: {low: 0, hihg: 3}}}", "hihg"),
        ("{trials: 2, device: ssh://pi@board, places: {seed: [0, 1]}}", "a device is for latency_ms"),
        ("{trials: 2, pruner: asha, objectives: [accuracy, size_mb], places: {seed: [0, 1]}}", "a pruner compares accuracies"),
    ],
)
def test_a_wrong_sweep_file_is_refused_in_words(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecipeError, match="a.yaml:1") as error:
        load_section(tmp_path / "a.yaml", Sweep, like="")
    assert fault in str(error.value)


def test_a_sweep_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match="wide: no such sweep in .*; there are: none"):
        read_sweep("wide", runs=tmp_path)


def test_report_names_failed_trials_the_front_and_what_mattered() -> None:
    asked = {"recipe": "a.yaml", "sampler": "tpe", "objectives": ["accuracy", "size_mb"], "places": {"seed": {"values": [0, 1]}}}
    trials = [
        Found(0, "a-0", {"seed": 0}, {"accuracy": 90.0, "size_mb": 0.5}, best=True),
        Found(1, "a-1", {"seed": 1}, {}, "failed", "it broke"),
        Found(
            3, "a-3", {"seed": 0}, {}, "pruned", "at 20 % of its training, accuracy 40", student={"parameters": 12_345, "multiply_adds": 9}
        ),
        Found(2, "a-2", {"seed": 1}, {"accuracy": 91.0, "size_mb": 0.75}, best=True),
    ]
    text = sweep_markdown(Result("a", asked, trials, {"accuracy": {"seed": 1.0}}))
    assert "better in something: a-2, a-0." in text  # by accuracy
    assert "| a-0 | 0 | 90 | 0.5 |  |  | yes |" in text and "| a-1 | 1 | failed: it broke |  |  |  |  |" in text
    assert "| a-3 | 0 | pruned: at 20 % of its training, accuracy 40 |  | 12,345 | 9 |  |" in text
    assert "1 more were ended on their way" in text and "1 more failed" in text and "refused" not in text
    assert "What accuracy varied by (PED-ANOVA, an estimate): seed 100 %." in text
