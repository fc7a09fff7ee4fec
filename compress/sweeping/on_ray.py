"""Trials on a Ray cluster: each is a task on whichever machine has room, and its events come back as it tells them. Ray is an extra."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.errors import CompressError, DependencyError
from compress.placement import CPU
from compress.recipe.sweep import LimitError
from compress.sweeping.following import Start
from compress.sweeping.trials import TrialError, TrialKilled, Trials

KINDS = {kind.__name__: kind for kind in (CompressError, TrialError, TrialKilled, LimitError)}  # of errors; others become TrialErrors


@contextmanager
def cluster(address: str, trials: Trials) -> Iterator[tuple[Start, int]]:
    """What starts a trial on the cluster at `address` (host:port; auto: the one of this machine), and how many fit at once.

    All of its machines see the recipe, its data and the runs folder under the same paths, and have this package installed. A trial takes
    `threads` cores, one where nothing is said, and a GPU where it runs on one. That of a machine which is gone ends as killed.
    """
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--ray: package 'ray' is not installed; pip install 'compress[ray]' installs it") from error
    cores, gpus = trials.threads or 1, 0 if trials.device == CPU else 1
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    try:
        ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False)
    except ConnectionError as error:
        raise CompressError(f"--ray {address}: no cluster answers there ({error}); `ray start --head` starts one") from error
    of_trial = ray.remote(num_cpus=cores, num_gpus=gpus, num_returns="streaming", max_retries=0)  # one that is killed the sweep runs again
    task: Any = of_trial(_events)

    def start(name: str, values: list[str]) -> Generator[dict[str, Any]]:
        stream = task.remote(replace(trials, threads=cores), name, values)
        try:
            for told in stream:
                event: Any = ray.get(told)
                if "error" in event:
                    raise KINDS.get(event["kind"], TrialError)(event["error"])
                yield event
        except ray.exceptions.RayError as error:
            raise TrialKilled(f"its machine or its process is gone: {type(error).__name__}") from error
        except GeneratorExit:
            ray.cancel(stream, force=True)  # ends its process, and with that the run, whose input closes
            raise

    try:
        yield start, max(1, int(ray.cluster_resources().get("CPU", 1) // cores))
    finally:
        ray.shutdown()


def _events(trials: Trials, name: str, values: list[str]) -> Iterator[dict[str, Any]]:
    """On the machine of the trial: its events, the last of them its error where it ends with one."""
    try:
        yield from trials.events(name, values)
    except CompressError as error:
        yield {"error": str(error), "kind": type(error).__name__}
