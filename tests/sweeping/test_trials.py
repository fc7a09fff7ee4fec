"""How trials share a machine and a device: what is timed has it to itself, and a device's own latency takes the place of this machine's."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from compress.errors import CompressError, DependencyError
from compress.fleet.fleet import Outcome
from compress.recipe.fleet import Fleet, FleetDevice
from compress.sweeping import trials as module
from compress.sweeping.on_ray import cluster
from compress.sweeping.trials import TrialError, Trials, on_this_machine


def trials(folder: Path, **given: Any) -> Trials:
    return Trials(folder / "a.yaml", (), ("latency_ms",), folder, folder, 1, "cpu", **given)


def test_trials_work_beside_each_other_and_one_that_must_be_alone_waits_for_all(tmp_path: Path) -> None:
    inside, most, lock = {True: 0, False: 0}, {True: 0, False: 0}, threading.Lock()
    both: list[bool] = []

    def work(alone: bool) -> None:
        with on_this_machine(tmp_path, alone=alone):
            with lock:
                inside[alone] += 1
                most[alone] = max(most[alone], inside[alone])
                both.append(bool(inside[True] and inside[False]))
            time.sleep(0.05)
            with lock:
                inside[alone] -= 1

    threads = [threading.Thread(target=work, args=(alone,)) for alone in (False, False, True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert most[True] == 1 and most[False] > 1 and not any(both) and len(both) == len(threads)


def test_latency_is_that_of_the_device_which_the_sweep_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Fleet] = []

    def bench(bundle: Path, folder: Path, fleet: Fleet, *, say: Any) -> list[Outcome]:
        asked.append(fleet)
        ((name, device),) = fleet.devices.items()
        if device.at == "adb":
            return [Outcome(name, device, error="no device")]
        return [Outcome(name, device, {"measurements": [{"model": "student_int8", "batch": 1, "median_ms": 7.5}]})]

    monkeypatch.setattr(module, "bench_fleet", bench)
    monkeypatch.setattr(module, "find_bundle", lambda run, runs: Path(run))
    summary = {"shipped_model": "student_int8", "shipped_latency_ms": 0.2}
    board = trials(tmp_path, at=FleetDevice(at="ssh://pi@board"))
    assert board._value("latency_ms", summary, tmp_path / "a-0") == 7.5
    assert asked[0].model == "student_int8" and asked[0].batches == [1]
    assert trials(tmp_path)._value("latency_ms", summary, tmp_path / "a-0") == 0.2
    with pytest.raises(TrialError, match="latency_ms: no device"):
        trials(tmp_path, at=FleetDevice(at="adb"))._value("latency_ms", summary, tmp_path / "a-0")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        pytest.raises(DependencyError, match=r"package 'ray' is not installed; pip install 'compress\[ray\]'"),
        cluster("auto", trials(tmp_path)),
    ):
        pass


def test_where_no_cluster_answers_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="package 'ray' is not installed (extra ray)")

    def nobody(**options: Any) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(CompressError, match="--ray 10.0.0.1:6379: no cluster answers there"), cluster("10.0.0.1:6379", trials(tmp_path)):
        pass
