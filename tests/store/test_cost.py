"""What a making takes is counted: time, memory that came and went, processes that it started, tries before it; and nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.store import cost
from compress.store.cost import Cost

MIB = 1 << 20
HOLD = "import sys; held = b'x' * (96 << 20); print(flush=True); sys.stdin.read()"
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what memory a process holds")


def resident() -> int:
    return cost._status("self", "VmRSS")


@pytest.fixture
def spent(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint" / "spent.json"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PAUSE_S", 0.01)
    monkeypatch.setattr(cost, "LOOK_EVERY", 1)


def until(condition: Callable[[], bool]) -> None:
    """Returns once another thread has made it so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def started() -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()  # it holds its memory now
    return child


@needs_proc
def test_memory_that_is_gone_at_the_end_was_counted(spent: Path) -> None:
    with Cost(spent) as taken:
        before = resident()
        held = b"x" * (128 * MIB)
        until(lambda: (taken.peak_bytes or 0) >= before + 128 * MIB)
        del held
    assert taken.peak_bytes is not None
    assert before + 128 * MIB <= taken.peak_bytes < before + 192 * MIB
    assert taken.seconds > 0


@needs_proc
def test_memory_of_an_earlier_making_is_not_counted_again(spent: Path) -> None:
    held = b"x" * (256 * MIB)  # raises the process's own high-water mark
    del held
    with Cost(spent) as taken:
        before = resident()
    assert taken.peak_bytes is not None and taken.peak_bytes < before + 64 * MIB


@needs_proc
def test_processes_started_meanwhile_count_and_those_before_do_not(spent: Path, often) -> None:
    with started() as early:
        with Cost(spent) as alone:
            until(lambda: alone.peak_bytes is not None)
        with Cost(spent) as both, started() as late:
            until(lambda: (both.peak_bytes or 0) > resident() + 96 * MIB)
            late.communicate()
        early.communicate()
    assert alone.peak_bytes and both.peak_bytes
    assert alone.peak_bytes < resident() + 64 * MIB


@needs_proc
def test_a_process_counts_from_the_second_look_on(spent: Path, often, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that has not called exec yet shows the memory of its parent as its own."""
    looks = [[], ["7"], ["8"], ["8"]]  # before, and three while it runs: 7 is gone at the next look
    monkeypatch.setattr(cost, "_children", lambda *_: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setattr(cost, "_status", lambda who, word: {"self": 100, "7": 1000, "8": 20}[who])
    with Cost(spent) as taken:
        until(lambda: taken.peak_bytes == 120)
    assert taken.peak_bytes == 120


def test_a_try_that_was_interrupted_counts_too(spent: Path) -> None:
    spent.parent.mkdir()
    with pytest.raises(KeyboardInterrupt), Cost(spent):
        raise KeyboardInterrupt
    spent.write_text(json.dumps({"seconds": 1000.0, "peak_bytes": 1 << 50}))
    with Cost(spent) as taken:
        pass
    assert taken.seconds >= 1000
    assert taken.peak_bytes == 1 << 50


def test_an_error_without_a_checkpoint_leaves_nothing(spent: Path) -> None:
    with pytest.raises(ValueError, match="stage"), Cost(spent):
        raise ValueError("stage")
    assert not spent.parent.exists()


def test_memory_is_unknown_where_the_system_does_not_tell(spent: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cost, "_PROC", tmp_path / "no such folder")
    with Cost(spent) as taken:
        pass
    assert taken.peak_bytes is None and taken.seconds >= 0
