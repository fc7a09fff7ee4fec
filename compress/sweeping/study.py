"""A sweep from start to report: what to try comes from Optuna, what was tried stands in a database, so a killed sweep goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from compress.errors import CompressError, RecipeError
from compress.recipe.grammar import LoadedRecipe
from compress.recipe.sweep import Sweep, check_places
from compress.store.store import hold
from compress.sweeping.following import STATES, STUDENT, Following, first_number, settled
from compress.sweeping.proposing import DATABASE, open_storage, optuna, pruner, sampler, study_name
from compress.sweeping.trials import DIRECTIONS, Trials

ASKED = "asked"


@dataclass(frozen=True)
class Found:
    """One finished trial."""

    number: int
    name: str  # of its run
    values: dict[str, Any]  # place -> value
    objectives: dict[str, float]  # empty for a run that did not come to its end
    state: str = "done"  # or one of STATES
    why: str | None = None  # it did not
    best: bool = False  # none of the others is as good in everything and better in something
    student: dict[str, int] | None = None  # its parameters and multiply_adds, where it came so far


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


@dataclass(frozen=True)
class Where:
    """On what a sweep runs: how many trials at once, on which Ray cluster, and what machines share."""

    jobs: int | None = None  # None: one here, of a Ray cluster as many as fit
    ray: str | None = None  # address of a cluster; None: processes of this machine
    storage: str | None = None  # URL of a database, or file of a journal; None: SQLite in the sweep's folder
    store: str | None = None  # URL of a store of artifacts


def sweep(
    loaded: LoadedRecipe,
    config: Sweep,
    *,
    name: str,
    runs: Path,
    threads: int | None,
    device: str,
    say: Callable[[str], None],
    where: Where = Where(),  # noqa: B008 - frozen
) -> Result:
    """Runs the trials that are missing. Runs are called NAME-0, NAME-1, ... and share the store; what is timed is timed alone on its machine.

    Raises: RecipeError for places or values that the recipe does not take, StoreError where the sweep runs already.
    """
    optuna()
    check_places(loaded, config)
    folder, jobs = runs / name, where.jobs or 1
    if not where.ray and jobs > 1:
        threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    trials = Trials(
        *(loaded.path.absolute(), loaded.overrides, tuple(config.objectives), runs.absolute(), folder.absolute(), threads, device),
        limits=config.limits,
        store=where.store,
        at=config.device,
    )
    lock = f"sweep-{platform.node()}.lock" if where.storage else "sweep.lock"
    with (
        hold(folder / lock, f"sweep {folder}"),
        _study(folder, config, _asked(loaded, config), where.storage) as study,
        _starter(where, trials) as (start, most),
    ):
        every = prod(len(tried.examples) for tried in config.places.values()) if config.sampler == "grid" else None
        following = Following(study, config, trials, start, say, name=name, wanted=min(filter(None, (config.trials, every))))
        following.bury(shared=where.storage is not None)
        with ThreadPoolExecutor(where.jobs or most) as pool:
            try:
                for thread in [pool.submit(following.work) for _ in range(where.jobs or most)]:
                    thread.result()
            finally:
                following.ended = True
        return _result(name, study)


def read_sweep(name: str, *, runs: Path, storage: str | None = None) -> Result:
    """What a sweep has found so far. Raises: CompressError where there is none of that name."""
    folder = runs / name
    if not storage and not (folder / DATABASE).is_file():
        known = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{DATABASE}"))) or "none"
        raise CompressError(f"{name}: no such sweep in {runs}; there are: {known}")
    with open_storage(folder, storage) as opened:
        try:
            study = optuna().load_study(study_name=study_name(folder, storage), storage=opened)
        except KeyError as error:
            raise CompressError(f"{name}: no such sweep in that storage") from error
        return _result(name, study)


def text_hash(loaded: LoadedRecipe) -> str:
    """SHA-256 of the recipe file, before overrides."""
    return hashlib.sha256(loaded.text.encode()).hexdigest()


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
        "pruner": config.pruner,
        "device": config.device and config.device.model_dump(exclude_defaults=True),
        "limits": config.limits.model_dump(exclude_none=True) or None,
    }


@contextmanager
def _starter(where: Where, trials: Trials) -> Iterator[tuple[Callable[..., Any], int]]:
    """What starts a trial, here or on a Ray cluster, and how many there may be at once."""
    if not where.ray:
        yield trials.events, 1
        return
    from compress.sweeping.on_ray import cluster

    with cluster(where.ray, trials) as started:
        yield started


@contextmanager
def _study(folder: Path, config: Sweep, asked: dict[str, Any], url: str | None) -> Iterator[Any]:
    """The study in the folder, begun where there is none. Raises: RecipeError where the one there is of another recipe or other places."""
    directions = [DIRECTIONS[objective] for objective in config.objectives]
    with open_storage(folder, url) as storage:
        study = optuna().create_study(study_name=study_name(folder, url), storage=storage, directions=directions, load_if_exists=True)
        before = study.user_attrs.get(ASKED)
        changed = [word for word in asked if before and before.get(word) != asked[word]]
        if changed:
            raise RecipeError(f"{folder}: its trials are of another sweep ({', '.join(changed)} differ); give this one another name")
        study.set_user_attr(ASKED, asked)
        study.sampler, study.pruner = sampler(config, done=len(study.get_trials(deepcopy=False))), pruner(config)
        yield study


def _result(name: str, study: Any) -> Result:
    asked, best = study.user_attrs[ASKED], {trial.number for trial in study.best_trials}
    trials = []
    for trial in settled(study):
        values = {place: json.loads(x) if isinstance(x, str) else x for place, x in trial.params.items()}
        run, state, why = f"{name}-{first_number(trial.number, trial.system_attrs)}", "done", None
        objectives = dict(zip(asked["objectives"], trial.values or [], strict=False)) if trial.state.name == "COMPLETE" else {}
        if not objectives:
            state, why = next((STATES[key], trial.user_attrs[key]) for key in STATES if key in trial.user_attrs)
        student = trial.user_attrs.get(STUDENT)
        trials.append(Found(trial.number, run, values, objectives, state, why, trial.number in best, student))
    return Result(name, asked, trials, _importances(study, asked["objectives"]))


def _importances(study: Any, objectives: list[str]) -> dict[str, dict[str, float]]:
    """Share of each place in what the objectives vary by, of Optuna's own estimate (PED-ANOVA); none where it sees too little, or one place alone."""
    found = {}
    for index, objective in enumerate(objectives):
        sign = -1 if DIRECTIONS[objective] == "maximize" else 1  # the estimate is of what makes a target low
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("error", ".*importances will be equal")  # because there is too little to tell them by
                shares = optuna().importance.get_param_importances(study, target=lambda trial: sign * trial.values[index])  # noqa: B023 - called here
        except (ValueError, RuntimeError, UserWarning):  # too few trials, or all alike
            continue
        if len(shares) > 1 and any(shares.values()):
            found[objective] = {place: float(share) for place, share in shares.items()}
    return found
