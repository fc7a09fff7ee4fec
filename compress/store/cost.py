"""`Cost`: the seconds and the memory that the making of an artifact takes; tries that were interrupted count too."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

PAUSE_S = 0.1  # between two samples; one costs 30 microseconds
LOOK_EVERY = 10  # samples between two looks for new processes, which cost 3 milliseconds where 170 processes run
_PROC = Path("/proc")


class Cost:
    """A context; `seconds` is how long it took, `peak_bytes` the most resident memory seen in it (None without /proc: macOS, Windows).

    Memory counts all that this process holds (VmRSS), so also what was there before (Python, torch, what earlier stages left) and the pages
    of memory-mapped files that are in memory; and the same of every process started in it, such as the benchmark's. Processes that ran
    already, such as a stage beside the run, are left out. Pages that processes share count once for each. A peak of less than PAUSE_S,
    or a child of less than two seconds, can be missed, but not a new maximum of this process, which the kernel keeps by itself (VmHWM).
    """

    def __init__(self, spent: Path) -> None:
        """spent: where a try that ends with an error leaves its cost, if its folder exists, and the next one finds it."""
        before: dict[str, Any] = json.loads(spent.read_text()) if spent.is_file() else {"seconds": 0.0, "peak_bytes": None}
        self.seconds, self.peak_bytes = float(before["seconds"]), before["peak_bytes"]
        self._spent = spent
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Cost:
        self._started = time.monotonic()
        if (_PROC / "self" / "status").exists():
            self._pid, self._mark = os.getpid(), _status("self", "VmHWM")
            self._before = set(_children(self._pid, set()))
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.seconds += time.monotonic() - self._started
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
            mark = _status("self", "VmHWM")
            self.peak_bytes = max(self.peak_bytes or 0, mark if mark > self._mark else 0)
        if error and self._spent.parent.is_dir():
            self._spent.write_text(json.dumps({"seconds": self.seconds, "peak_bytes": self.peak_bytes}))

    def _watch(self) -> None:
        samples, seen, children = 0, [], []
        while True:
            if samples % LOOK_EVERY == 0:  # until it calls exec a new child shows this process's memory as its own, so it counts from the
                seen, earlier = _children(self._pid, self._before), seen  # second look on
                children = [child for child in seen if child in earlier]
            samples += 1
            self.peak_bytes = max(self.peak_bytes or 0, sum(_status(who, "VmRSS") for who in ("self", *children)))
            if self._ended.wait(PAUSE_S):
                return


def _status(who: str, word: str) -> int:
    """Bytes of one line of /proc/<who>/status; 0 for a process that is gone."""
    with suppress(OSError):
        for line in (_PROC / who / "status").read_text().splitlines():
            if line.startswith(word):
                return int(line.split()[1]) * 1024  # the kernel says kB and means KiB
    return 0


def _children(pid: int, without: set[str]) -> list[str]:
    """The process ids of all descendants, but for those of `without` and theirs."""
    by_parent: dict[str, list[str]] = {}
    for name in filter(str.isdigit, os.listdir(_PROC)):
        with suppress(OSError):  # gone meanwhile
            parent = (_PROC / name / "stat").read_text().rpartition(")")[2].split()[1]
            by_parent.setdefault(parent, []).append(name)
    found, left = [], [str(pid)]
    while left:
        new = [child for child in by_parent.get(left.pop(), []) if child not in without]
        found += new
        left += new
    return found
