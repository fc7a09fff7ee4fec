"""A fleet: every device is measured, what fails is a line, and a file that came from someone else can start no program here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from compress.errors import CompressError
from compress.fleet.fleet import Outcome, bench_fleet, rank, way_to
from compress.recipe.fleet import Fleet, FleetBudget, FleetDevice


def entry(model: str, median: float, *, batch: int = 1) -> dict[str, Any]:
    return {"model": model, "batch": batch, "median_ms": median, "p95_ms": 2 * median, "size_bytes": 4_000_000}


def outcome(name: str, price: float | None, *entries: dict[str, Any]) -> Outcome:
    return Outcome(name, FleetDevice(at="local", price=price), {"measurements": [*entries]})


def test_a_fleet_is_measured_over_ssh_and_here_and_one_that_fails_is_a_line(there: Any, bundle: Path, tmp_path: Path) -> None:
    ssh = dict(option.split("=", 1) for option in there.ssh_options)
    address = f"ssh://tester@127.0.0.1:{there.device.port}{there.device.folder}"
    devices = {
        "here": FleetDevice(at="local"),
        "board": FleetDevice(at=address, ssh=ssh, python=sys.executable),
        "gone": FleetDevice(at="ssh://tester@127.0.0.1:1"),
        "stranger": FleetDevice(at=address, python=sys.executable, ssh={**ssh, "UserKnownHostsFile": "/dev/null"}),
    }
    said: list[str] = []
    found = bench_fleet(bundle, tmp_path, Fleet(devices=devices, batches=[1], rounds=2), say=said.append)
    assert [(one.name, one.measured is not None) for one in found] == [
        ("here", True),
        ("board", True),
        ("gone", False),
        ("stranger", False),
    ]
    assert "not reached over ssh" in str(found[2].error) and "Host key verification failed" in str(found[3].error)
    assert (tmp_path / "measurements-board.json").is_file() and not (tmp_path / "measurements-gone.json").exists()
    assert list(Path(str(there.device.folder)).iterdir()) == []


@pytest.mark.parametrize(
    ("at", "ssh", "said"),
    [
        ("ssh://-oProxyCommand=x@board", {}, "user"),
        ("ssh://-board", {}, "host"),
        ("ssh://pi@board", {"ProxyCommand": "touch x"}, "devices.d.ssh.ProxyCommand: a fleet file may set"),
        ("ssh://pi@board", {"LocalCommand": "touch x"}, "may set"),
        ("ssh://pi@board", {"proxycommand": "touch x"}, "may set"),
        ("ssh://pi@board", {"StrictHostKeyChecking": "no"}, "may set"),
        ("ssh://pi@board", {"IdentityFile": "key\nProxyCommand=x"}, "white space"),
        ("ssh://pi@board", {"IdentityFile": "%C"}, "white space or a sign"),
        ("local", {"IdentityFile": "key"}, "not reached by ssh"),
        ("adb:-e", {}, "no serial number"),
        ("http://board", {}, "no address"),
    ],
)
def test_a_file_that_could_start_something_is_refused_before_anything_is_measured(
    bundle: Path, tmp_path: Path, at: str, ssh: dict[str, str], said: str
) -> None:
    fleet = Fleet(devices={"here": FleetDevice(at="local"), "d": FleetDevice(at=at, ssh=ssh)})
    with pytest.raises(CompressError, match=said):
        bench_fleet(bundle, tmp_path, fleet, say=lambda _: None)
    assert not (tmp_path / "measurements-here.json").exists()


def test_unknown_host_keys_are_refused_whatever_the_users_own_configuration_says() -> None:
    remote = way_to("d", FleetDevice(at="ssh://pi@board", ssh={"ConnectTimeout": "3"})).args[0]  # type: ignore[attr-defined]
    options = [word for word, before in zip(remote._command[1:], remote._command, strict=False) if before == "-o"]
    assert options[:3] == ["BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=3"]  # ssh takes the first of each


def test_the_cheapest_device_that_meets_the_budget_comes_first() -> None:
    outcomes = [
        outcome("dear", 200, entry("fp32", 1.0), entry("int8", 2.0)),
        outcome("gift", None, entry("int8", 0.5)),
        outcome("cheap", 10, entry("fp32", 30.0), entry("int8", 9.0), entry("int8", 50.0, batch=8)),
        Outcome("gone", FleetDevice(at="local"), error="not reached"),
    ]
    lines = rank(outcomes, FleetBudget(max_latency_ms=10))
    assert [(line.name, line.entry["model"], line.met) for line in lines] == [
        ("cheap", "int8", True),
        ("dear", "fp32", True),
        ("dear", "int8", True),
        ("gift", "int8", True),
        ("cheap", "fp32", False),
        ("cheap", "int8", False),
    ]
    assert lines[4].misses == ("max_latency_ms: 30, limit 10",) and lines[5].misses is None  # the latter is of another batch
