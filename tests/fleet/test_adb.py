"""A device behind adb, with a stand-in for adb that runs its commands here: the way there is the same as over ssh."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from compress.errors import DependencyError
from compress.fleet.adb import Adb
from compress.fleet.measurements import BenchOptions
from compress.fleet.remote import Device, bench_at


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what adb was called with, a line a call."""
    (tmp_path / "bin").mkdir()
    adb, log = tmp_path / "bin" / "adb", tmp_path / "asked"
    adb.write_text(f"""#!/bin/sh
printf '%s\\n' "$*" >> {shlex.quote(str(log))}
while [ "$1" != shell ]; do [ "$2" != gone ] || {{ echo "error: device 'gone' not found" >&2; exit 1; }}; shift; done
shift 2
exec sh -c "$*"
""")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{adb.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_a_bundle_is_measured_through_adb_and_nothing_is_left(asked: Path, bundle: Path, tmp_path: Path) -> None:
    phone = Adb("emulator-5554")
    phone.device = Device(host="phone", folder=str(tmp_path / "there"))
    measured = bench_at(
        phone, bundle, tmp_path / "out.json", BenchOptions(batches=(1,), rounds=2), python=sys.executable, say=lambda _: None
    )
    assert {line["model"] for line in measured["measurements"]} == {"fp32", "int8_qat"}
    assert list((tmp_path / "there").iterdir()) == []
    assert all(line.startswith("-s emulator-5554 shell -T ") for line in asked.read_text().splitlines())


def test_a_device_that_adb_does_not_reach_is_named(asked: Path) -> None:
    with pytest.raises(DependencyError, match="adb:gone: not reached: error: device 'gone' not found"):
        Adb("gone").call(["true"])


def test_a_command_that_fails_there_keeps_its_own_exit_code(asked: Path) -> None:
    assert Adb().call(["sh", "-c", "echo no >&2; exit 7"])[::2] == (7, "no\n")


def test_a_missing_adb_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="adb: no such command here"):
        Adb().call(["true"])
