"""Trials on a Ray cluster of two nodes: a node that is killed in the middle costs no trial, and a pruned trial ends its process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_trials import Toy

from compress.recipe.sweep import Sweep
from compress.sweeping.following import Following
from compress.sweeping.on_ray import cluster

ray = pytest.importorskip("ray", reason="package 'ray' is not installed (extra ray)")
from ray.cluster_utils import Cluster  # noqa: E402 - after the skip


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """The last test kills one of them."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


@pytest.fixture(autouse=True)
def toys_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))


def follow(nodes: Cluster, folder: Path, config: dict[str, Any], seen: Any = lambda line: None) -> optuna.Study:
    """A study of twelve trials on the cluster, in as many threads as it has cores."""
    from concurrent.futures import ThreadPoolExecutor

    asked = Sweep.model_validate({"sampler": "grid", "places": {"seed": list(range(12))}, **config})
    sampler = optuna.samplers.GridSampler({"seed": [json.dumps(seed) for seed in range(12)]}, seed=0)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1) if asked.pruner else optuna.pruners.NopPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    trials = Toy(folder / "a.yaml", (), ("accuracy",), folder, folder, 1, "cpu")
    with cluster(nodes.address, trials) as (start, most):
        assert most == 2
        following = Following(study, asked, trials, start, seen, name="a", wanted=12)
        with ThreadPoolExecutor(most) as pool:
            for thread in [pool.submit(following.work) for _ in range(most)]:
                thread.result()
    return study


def test_a_pruned_trial_is_ended_on_its_node(two_nodes: Cluster, tmp_path: Path) -> None:
    study = follow(two_nodes, tmp_path, {"pruner": "median"})
    ends = [
        trial.state.name for trial in study.trials if trial.state.name != "FAIL"
    ]  # the next one of a worker that is just ended is run again
    assert sorted(set(ends)) == ["COMPLETE", "PRUNED"] and len(ends) == 12 and study.best_value == 110.0
    assert len(list(tmp_path.glob("*.ended"))) < 12


def kill_at_work(nodes: Cluster, node: Any, folder: Path) -> None:
    """Kills the node with its processes, as one that loses power, as soon as it is at work on a trial and three others are through."""
    while True:
        ended = {place.name.partition(".")[0] for place in folder.glob("*.ended")}
        begun = {place.name.partition(".")[0]: place.read_text().split() for place in folder.glob("*.begun") if place.stat().st_size}
        at_work = [int(pid) for name, (where, pid) in begun.items() if where == node.node_id and name not in ended]
        if at_work and len(ended) >= 3:
            os.kill(at_work[0], signal.SIGKILL)
            return nodes.remove_node(node, allow_graceful=False)
        time.sleep(0.02)


def test_a_node_killed_in_the_middle_costs_no_trial_and_the_best_is_the_same(two_nodes: Cluster, tmp_path: Path) -> None:
    said: list[str] = []
    node = two_nodes.worker_nodes.copy().pop()
    killer = threading.Thread(target=kill_at_work, args=(two_nodes, node, tmp_path), daemon=True)
    killer.start()
    study = follow(two_nodes, tmp_path, {}, said.append)
    killer.join(timeout=30)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert sorted(trial.value for trial in done) == [10.0 * seed for seed in range(12)] and study.best_params == {"seed": "11"}
    begun = [place.read_text().split()[0] for place in tmp_path.glob("*.begun")]
    assert len(set(begun)) == 2 and len(begun) > 12, "both nodes were at work, and what was killed was begun again"
    assert any("run again" in line for line in said)
