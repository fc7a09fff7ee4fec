"""How the trials of a sweep go: pruned by validation, refused by limits, several at once, killed and run again; the runs are real and tiny, or told."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from compress.errors import CompressError
from compress.recipe.grammar import load_recipe
from compress.recipe.sweep import LimitError, Limits, Sweep
from compress.store.store import RunFolder
from compress.sweeping import proposing
from compress.sweeping import study as studies
from compress.sweeping.following import Following
from compress.sweeping.study import Result, Where, sweep
from compress.sweeping.trials import TrialError, TrialKilled, Trials

RECIPE = """\
name: rows
data: {source: manifest, options: {train: train.csv, test: test.csv}, inputs: {numbers: {size: 2}}}
teacher: {source: fit, encoders: {numbers: {model: raw}}, head_width: 8, train: {epochs: 4, trackers: []}}
student: {encoders: {numbers: {model: mlp, options: {width: 8}}}, head_width: 8}
distill: {compare_alone: false, train: {epochs: 10, learning_rate: 0.03, trackers: []}}
quantize: null
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over rows of two numbers, whose label is the sign of the first."""
    folder, rng = tmp_path_factory.mktemp("following"), np.random.default_rng(0)
    for split, count in (("train", 80), ("test", 20)):
        rows = rng.normal(size=(count, 2)).round(3)
        lines = [f"{a} {b},{'up' if a > 0 else 'down'}" for a, b in rows]
        (folder / f"{split}.csv").write_text("\n".join(["numbers,label", *lines]) + "\n")
    (folder / "rows.yaml").write_text(RECIPE)
    return folder / "rows.yaml"


def start(recipe: Path, config: dict[str, Any], name: str, said: list[str], where: Where = Where()) -> Result:  # noqa: B008
    asked = Sweep.model_validate(config)
    folder = recipe.parent / "runs"
    return sweep(load_recipe(recipe), asked, name=name, runs=folder, threads=1, device="cpu", say=said.append, where=where)


def test_a_training_that_is_behind_is_pruned_and_what_was_made_before_it_stays(recipe: Path) -> None:
    said: list[str] = []
    learning = {"distill.train.learning_rate": [0.03, 1e-7]}  # the second one learns nothing
    result = start(recipe, {"sampler": "grid", "seed": 1, "pruner": "asha", "places": learning}, "pruned", said)
    first, pruned = result.trials  # in the order that the sampler draws with that seed: one that comes first has no rival
    assert first.state == "done" and pruned.state == "pruned" and pruned.values["distill.train.learning_rate"] == 1e-7
    assert pruned.why and pruned.why.startswith("at 20 % of its training, accuracy ") and not pruned.objectives
    assert any("pruned: at 20 %" in line for line in said)
    run = RunFolder(recipe.parent / "runs" / pruned.name)
    assert list(run.links()) == ["data", "features", "teacher", "targets"]
    assert pruned.student and pruned.student["parameters"] > 0


def test_a_student_over_the_limits_is_refused_before_anything_is_made(recipe: Path) -> None:
    said: list[str] = []
    wide = {"student.encoders.numbers.options.width": [4, 4000]}
    result = start(recipe, {"sampler": "grid", "limits": {"parameters": 2000}, "places": wide}, "limited", said)
    states = {trial.values["student.encoders.numbers.options.width"]: trial for trial in result.trials}
    assert states[4].state == "done" and states[4000].state == "refused"
    assert "parameters" in str(states[4000].why) and "of at most 2,000" in str(states[4000].why)
    assert not (recipe.parent / "runs" / states[4000].name).exists()


def test_a_head_over_the_limits_is_refused_by_the_run_itself_before_its_student_is_trained(recipe: Path) -> None:
    folder, wider = recipe.parent / "runs", ["student.encoders.numbers.options.width=12"]
    (folder / "logs").mkdir(parents=True)
    trials = Trials(recipe, (), ("multiply_adds",), folder, folder / "logs", 1, "cpu", limits=Limits(multiply_adds=40))
    with pytest.raises(LimitError, match="multiply_adds [0-9]+ of at most 40"):
        list(trials.events("over", wider))
    assert "distill" not in RunFolder(folder / "over").links()
    *_, end = replace(trials, limits=Limits()).events("within", wider)
    assert end["objectives"][0] > 40
    with pytest.raises(LimitError, match="of at most 40"):  # where another trial has trained it, too
        list(trials.events("over", wider))


def test_trials_at_once_share_what_one_of_them_makes(recipe: Path) -> None:
    said: list[str] = []
    anew = {"teacher.head_width": [16], "distill.train.learning_rate": [0.02, 0.01]}  # a teacher that nobody has made yet
    result = start(recipe, {"sampler": "grid", "places": anew}, "beside", said, Where(jobs=2))
    assert [trial.state for trial in result.trials] == ["done", "done"]
    first, second = (RunFolder(recipe.parent / "runs" / trial.name).links() for trial in result.trials)
    assert first["teacher"] == second["teacher"] and first["distill"] != second["distill"]
    made = [line for trial in result.trials for line in (recipe.parent / "runs" / "beside" / f"{trial.name}.log").read_text().splitlines()]
    assert sum(line.startswith("teacher: 72 inputs") for line in made) == 1


class Told:
    """Runs that are told and not made: place=value -> accuracy."""

    def __init__(self, killed: int = 0, failing: bool = False) -> None:
        self.killed, self.failing = killed, failing
        self.lock = threading.Lock()

    def __call__(self, name: str, values: list[str]) -> Generator[dict[str, Any]]:
        seed = int(values[0].partition("=")[2])
        if self.failing:
            raise TrialError("it broke")
        with self.lock:
            self.killed, killed = self.killed - 1, self.killed > 0
        if killed:
            raise TrialKilled("its machine is gone")
        yield {"student": {"parameters": 10, "multiply_adds": 10}}
        yield {"objectives": [float(seed)]}


def follow(study: optuna.Study, start: Any, seeds: int, threads: int = 1, *, config: dict[str, Any] | None = None) -> list[str]:
    said: list[str] = []
    asked = Sweep.model_validate({"sampler": "grid", "places": {"seed": list(range(seeds))}, **(config or {})})
    following = Following(study, asked, None, start, said.append, name="a", wanted=seeds)  # type: ignore[arg-type]
    workers = [threading.Thread(target=following.work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return said


def new_study(seeds: int) -> optuna.Study:
    sampler = optuna.samplers.GridSampler({"seed": [json.dumps(seed) for seed in range(seeds)]}, seed=0)
    return optuna.create_study(direction="maximize", sampler=sampler)


@pytest.mark.parametrize("killed", [0, 3])
def test_twelve_trials_end_alike_whether_or_not_some_are_killed(killed: int) -> None:
    """Threads that ask at once would try one point twice."""
    study = new_study(12)
    said = follow(study, Told(killed), 12, threads=3)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert sorted(trial.value for trial in done) == list(range(12)) and study.best_value == 11
    assert sum("it is run again" in line for line in said) == killed


def test_a_trial_that_is_killed_again_and_again_has_failed() -> None:
    study = new_study(1)
    said = follow(study, Told(killed=9), 1)
    assert len(study.trials) == 4 and study.trials[-1].user_attrs["error"] == "its machine is gone"
    assert sum("run again" in line for line in said) == 3 and "a-0: seed=0: failed: its machine is gone" in said[-1]


def test_three_failures_in_a_row_end_a_sweep() -> None:
    study = new_study(9)
    asked = Sweep.model_validate({"sampler": "grid", "places": {"seed": list(range(9))}})
    with pytest.raises(CompressError, match="3 trials failed one after another, the last with: it broke"):
        Following(study, asked, None, Told(failing=True), lambda line: None, name="a", wanted=9).work()  # type: ignore[arg-type]
    assert len(study.trials) == 3


@pytest.mark.parametrize("kind", ["database", "journal"])
def test_two_sweeps_share_a_storage_and_a_third_reads_it(recipe: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines: each adds what is missing, and none tries what the other has tried."""
    url = f"sqlite:///{tmp_path}/shared.db" if kind == "database" else str(tmp_path / "shared.journal")
    monkeypatch.setattr(Trials, "events", lambda self, name, values: Told()(name, values))
    config = {"sampler": "grid", "places": {"seed": [0, 1, 2, 3]}}
    for trials, machine in ((2, "one"), (4, "other")):
        monkeypatch.setattr("platform.node", lambda machine=machine: machine)
        start(recipe, {**config, "trials": trials}, f"shared-{kind}", [], Where(storage=url))
    found = studies.read_sweep(f"shared-{kind}", runs=tmp_path / "nowhere", storage=url)
    assert sorted(trial.values["seed"] for trial in found.trials) == [0, 1, 2, 3] and found.front[0].objectives == {"accuracy": 3.0}
    with pytest.raises(CompressError, match="no such sweep in that storage"):
        studies.read_sweep("another", runs=tmp_path, storage=url)


def test_the_trial_of_a_machine_that_gives_no_sign_of_life_is_run_again(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, said, config = f"sqlite:///{tmp_path}/shared.db", [], {"sampler": "grid", "places": {"seed": [0, 1]}}  # type: ignore[var-annotated]
    monkeypatch.setattr(Trials, "events", lambda self, name, values: Told()(name, values))
    monkeypatch.setattr(proposing, "HEARTBEAT_S", 1)
    start(recipe, {**config, "trials": 1}, "gone", [], Where(storage=url))
    with proposing.open_storage(tmp_path / "gone", url) as storage:  # another machine begins the second one, and is gone
        sampler = optuna.samplers.GridSampler({"seed": ["0", "1"]}, seed=0)
        lost = optuna.load_study(study_name="gone", storage=storage, sampler=sampler).ask()
        lost.suggest_categorical("seed", ["0", "1"])
        lost.set_user_attr("by", "another")
        storage.record_heartbeat(lost._trial_id)
    found = start(recipe, config, "gone", said, Where(storage=url))
    assert said[0] == f"waiting for another, at work on trial {lost.number}"
    assert sorted(trial.values["seed"] for trial in found.trials) == [0, 1] and found.trials[-1].name == f"gone-{lost.number}"


def test_importances_are_those_of_good_accuracies_and_not_of_bad_ones() -> None:
    """Among the best, `best` decides; how bad a bad one is, `worst` does."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def accuracy(trial: optuna.Trial) -> float:
        best, worst = trial.suggest_float("best", 0, 1), trial.suggest_float("worst", 0, 1)
        return best if best > 0.5 else -10 * worst

    study.optimize(accuracy, n_trials=100)
    shares = studies._importances(study, ["accuracy"])["accuracy"]
    assert shares["best"] > 0.9
