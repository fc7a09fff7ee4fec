"""A sweep from start to report: what to try comes from Optuna, what was tried stands in a SQLite file, so a killed sweep goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import CompressError, DependencyError, RecipeError
from compress.recipe.grammar import LoadedRecipe
from compress.recipe.sweep import Sweep, Tried, as_override, check_places
from compress.store.store import hold
from compress.sweeping.trials import DIRECTIONS, TrialError, TrialKilled, Trials

DATABASE, ASKED, ERROR = "sweep.db", "asked", "error"
IN_A_ROW = 3  # trials that fail one after another before the sweep ends with the last one's error


@dataclass(frozen=True)
class Found:
    """One finished trial."""

    number: int
    name: str  # of its run
    values: dict[str, Any]  # place -> value
    objectives: dict[str, float]  # empty for a run that failed
    error: str | None = None
    best: bool = False  # none of the others is as good in everything and better in something


@dataclass(frozen=True)
class Result:
    """What a sweep has found so far."""

    name: str
    asked: dict[str, Any]
    trials: list[Found]
    importances: dict[str, dict[str, float]]  # objective -> place -> share, where there are trials enough

    @property
    def front(self) -> list[Found]:
        """The best trials, by the first objective."""
        objective = next(iter(self.asked["objectives"]))
        sign = -1 if DIRECTIONS[objective] == "maximize" else 1
        return sorted((trial for trial in self.trials if trial.best), key=lambda trial: (sign * trial.objectives[objective], trial.number))


def sweep(
    loaded: LoadedRecipe, config: Sweep, *, name: str, runs: Path, threads: int | None, device: str, say: Callable[[str], None]
) -> Result:
    """Runs the trials that are missing, one at a time: a latency is measured alone. Runs are called NAME-0, NAME-1, ... and share the store.

    Raises: RecipeError for places or values that the recipe does not take, StoreError where the sweep runs already.
    """
    _optuna()
    check_places(loaded, config)
    folder = runs / name
    trials = Trials(loaded.path, loaded.overrides, tuple(config.objectives), runs, folder, threads, device)
    with hold(folder / "sweep.lock", f"sweep {folder}"), _study(folder, config, _asked(loaded, config)) as study:
        every = prod(len(tried.examples) for tried in config.places.values()) if config.sampler == "grid" else None
        wanted = min(filter(None, (config.trials, every)))
        failed: list[str] = []

        def objective(trial: Any) -> list[float]:
            values = [as_override(place, _suggest(trial, place, tried)) for place, tried in config.places.items()]
            run = f"{name}-{_first_number(trial.number, study._storage.get_trial_system_attrs(trial._trial_id))}"
            try:
                found = trials.run(run, values)
            except CompressError as error:
                failed.append(str(error))
                if not isinstance(error, TrialKilled):
                    trial.set_user_attr(ERROR, str(error))
                say(f"{run}: {', '.join(values)}: failed: {error}")
                if len(failed) >= IN_A_ROW:
                    raise CompressError(f"{len(failed)} trials failed one after another, the last with: {error}") from error
                raise TrialError(str(error)) from error
            failed.clear()
            told = ", ".join(f"{objective} {value:.4g}" for objective, value in zip(config.objectives, found, strict=True))
            say(f"{run}: {', '.join(values)}: {told}")
            return found

        while len(_settled(study)) < wanted:
            _retry(study)
            study.optimize(objective, n_trials=1, catch=(TrialError,))
        return _result(name, study)


def read_sweep(name: str, *, runs: Path) -> Result:
    """What a sweep has found so far. Raises: CompressError where there is none of that name."""
    folder = runs / name
    if not (folder / DATABASE).is_file():
        known = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{DATABASE}"))) or "none"
        raise CompressError(f"{name}: no such sweep in {runs}; there are: {known}")
    optuna = _optuna()
    with _storage(folder) as storage:
        return _result(name, optuna.load_study(study_name="sweep", storage=storage))


def text_hash(loaded: LoadedRecipe) -> str:
    """SHA-256 of the recipe file, before overrides."""
    return hashlib.sha256(loaded.text.encode()).hexdigest()


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise DependencyError("compress sweep: package 'optuna' is not installed; pip install 'compress[sweep]' installs it") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _asked(loaded: LoadedRecipe, config: Sweep) -> dict[str, Any]:
    """What the trials of a sweep have in common; how many there are may change."""
    return {
        "recipe": str(loaded.path),
        "sha256": text_hash(loaded),
        "overrides": list(loaded.overrides),
        "objectives": list(config.objectives),
        "places": {place: tried.model_dump(exclude_unset=True) for place, tried in config.places.items()},
        "sampler": config.sampler,
        "seed": config.seed,
    }


@contextmanager
def _storage(folder: Path) -> Iterator[Any]:
    storage = _optuna().storages.RDBStorage(f"sqlite:///{(folder / DATABASE).resolve()}")
    try:
        yield storage
    finally:
        storage.engine.dispose()


@contextmanager
def _study(folder: Path, config: Sweep, asked: dict[str, Any]) -> Iterator[Any]:
    """The study in the folder, begun where there is none. Raises: RecipeError where the one there is of another recipe or other places."""
    optuna = _optuna()
    directions = [DIRECTIONS[objective] for objective in config.objectives]
    with _storage(folder) as storage:
        study = optuna.create_study(study_name="sweep", storage=storage, directions=directions, load_if_exists=True)
        before = study.user_attrs.get(ASKED)
        changed = [word for word in asked if before and before[word] != asked[word]]
        if changed:
            raise RecipeError(f"{folder}: its trials are of another sweep ({', '.join(changed)} differ); give this one another name")
        study.set_user_attr(ASKED, asked)
        study.sampler = _sampler(config, done=len(study.get_trials(deepcopy=False)))
        yield study


def _sampler(config: Sweep, *, done: int) -> Any:
    """Optuna's sampler; a seed of its own for each continuation, or a sampler would propose again what it proposed at the start."""
    samplers, seed = _optuna().samplers, config.seed + done
    match config.sampler:
        case "grid":
            return samplers.GridSampler({place: _choices(tried) for place, tried in config.places.items()}, seed=config.seed)
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=max(4, (config.trials or 0) // 5))
    return samplers.TPESampler(seed=seed)


def _choices(tried: Tried) -> list[str]:
    """Values as JSON: a database keeps texts, and a value may be a list or a section."""
    return [json.dumps(value) for value in tried.examples]


def _suggest(trial: Any, place: str, tried: Tried) -> Any:
    if tried.values is not None:
        return json.loads(trial.suggest_categorical(place, _choices(tried)))
    suggest = trial.suggest_int if tried.whole else trial.suggest_float
    step = {"step": tried.step} if tried.step else {}
    return suggest(place, tried.low, tried.high, log=tried.log, **step)


def _retry(study: Any) -> None:
    """Puts trials that were killed before the others: those that still count as running, for no one else runs this sweep, or that were
    interrupted."""
    optuna, storage = _optuna(), study._storage
    trials = study.get_trials(deepcopy=False)
    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    for trial in trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        elif trial.state != optuna.trial.TrialState.FAIL or ERROR in trial.user_attrs:
            continue
        if trial.number not in again:
            optuna.storages.RetryHeartbeatStaleTrialCallback()(study, trial)


def _first_number(number: int, attributes: Mapping[str, Any]) -> int:
    """The number that a trial had before it was killed: the run goes on under its name."""
    return attributes.get("failed_trial", number)


def _settled(study: Any) -> list[Any]:
    """Trials that are not run again."""
    complete = _optuna().trial.TrialState.COMPLETE
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state == complete or ERROR in trial.user_attrs]


def _result(name: str, study: Any) -> Result:
    asked, best = study.user_attrs[ASKED], {trial.number for trial in study.best_trials}
    trials = []
    for trial in _settled(study):
        values = {place: json.loads(x) if isinstance(x, str) else x for place, x in trial.params.items()}
        objectives = dict(zip(asked["objectives"], trial.values or [], strict=False))
        run = f"{name}-{_first_number(trial.number, trial.system_attrs)}"
        trials.append(Found(trial.number, run, values, objectives, trial.user_attrs.get(ERROR), trial.number in best))
    return Result(name, asked, trials, _importances(study, asked["objectives"]))


def _importances(study: Any, objectives: list[str]) -> dict[str, dict[str, float]]:
    """Share of each place in what the objectives vary by, of Optuna's own estimate (PED-ANOVA); none where it sees too little."""
    found = {}
    for index, objective in enumerate(objectives):
        try:
            shares = _optuna().importance.get_param_importances(study, target=lambda trial: trial.values[index])  # noqa: B023 - called here
        except (ValueError, RuntimeError):  # too few trials, or all alike
            continue
        if any(shares.values()):
            found[objective] = {place: float(share) for place, share in shares.items()}
    return found
