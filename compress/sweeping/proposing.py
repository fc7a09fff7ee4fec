"""Optuna, for sweeps: the database of trials, what proposes them, and what prunes them. It is an extra, and imported here alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import DependencyError
from compress.recipe.sweep import Sweep

DATABASE = "sweep.db"
HEARTBEAT_S = 60  # between two signs of life of a trial, where several machines share the database; after three without one it is run again


def optuna() -> ModuleType:
    """The package. Raises: DependencyError where it is not installed."""
    try:
        import optuna as package
    except ImportError as error:
        raise DependencyError("compress sweep: package 'optuna' is not installed; pip install 'compress[sweep]' installs it") from error
    package.logging.set_verbosity(package.logging.ERROR)
    warnings.filterwarnings("ignore", category=package.exceptions.ExperimentalWarning)  # heartbeats, and running a killed trial again
    return package


def again() -> Any:
    """What puts a trial that was killed before the others, with the number that it had first and what it had told."""
    return optuna().storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)


def study_name(folder: Path, url: str | None) -> str:
    """Of a sweep in its database: one at a URL is that of many sweeps."""
    return folder.name if url else "sweep"


@contextmanager
def open_storage(folder: Path, url: str | None) -> Iterator[Any]:
    """The database in the sweep's folder, at a URL, or a journal: a file that several machines append to."""
    storages = optuna().storages
    if url and "://" not in url:
        yield storages.JournalStorage(storages.journal.JournalFileBackend(url))
        return
    beats: dict[str, Any] = {"heartbeat_interval": HEARTBEAT_S, "grace_period": 3 * HEARTBEAT_S}
    beats["heartbeat_stale_trial_callback"] = again()
    try:
        storage = storages.RDBStorage(url or f"sqlite:///{(folder / DATABASE).resolve()}", **(beats if url else {}))
    except ImportError as error:
        raise DependencyError(f"--storage {url.partition(':')[0] if url else ''}: {error}") from error
    try:
        yield storage
    finally:
        storage.engine.dispose()


def sampler(config: Sweep, *, done: int) -> Any:
    """Optuna's sampler; a seed of its own for each continuation, or a sampler would propose again what it proposed at the start."""
    samplers, seed = optuna().samplers, config.seed + done
    match config.sampler:
        case "grid":
            return samplers.GridSampler({place: tried.as_json for place, tried in config.places.items()}, seed=config.seed)
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=max(4, (config.trials or 0) // 5))
    return samplers.TPESampler(seed=seed)


def pruner(config: Sweep) -> Any:
    """Optuna's pruner, which counts tenths of a training."""
    pruners = optuna().pruners
    match config.pruner:
        case "asha":
            return pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
        case "median":
            return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    return pruners.NopPruner()
