"""The processes of one run: which of them this is, what the first tells the others, and how all of them end when one does.

`torchrun` and `accelerate launch` say it in the environment. The first process runs the recipe as ever and is the only one that writes or
prints; the others wait for what it tells them, through the store of the launcher and with no limit of time. A process that is gone is
noticed by its pulse: the first one watches all, and all watch the first.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from compress.errors import CompressError
from compress.placement import collective_backend

BEAT_S, SILENT_S = 1.0, 40.0  # between two beats, and without one after which a process counts as gone
GRACE_S = 3.0  # in which an error may be told by the process that it belongs to
FOREVER = timedelta(days=365)
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # processes that this one starts are no ranks
WAY_OUT = "what was made is in the store; run the same command again, with as many processes as you like, and it goes on"


@dataclass(frozen=True)
class Ranks:
    """The processes that work together at this moment: this one is number `rank` of `world`, counted from 0."""

    rank: int = 0
    world: int = 1
    nearby: int = 1  # of them on this machine

    def same(self, value: Any) -> Any:
        """The first process's value, in all of them: plain data."""
        return self.from_first(lambda: value)

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` gives in the first process, which alone calls it, in all of them: plain data."""
        if self.world == 1 or _joined is None:
            return make()
        if self.rank:
            return _joined.hear()
        with acting(Ranks()):
            return _joined.tell(make())


_joined: Group | None = None
_acting = Ranks()


def here() -> Ranks:
    """Those that work together: one process alone, unless a stage is made by all of them."""
    return _acting


@contextmanager
def acting(ranks: Ranks) -> Iterator[Ranks]:
    """Inside, `here` gives these."""
    global _acting
    before, _acting = _acting, ranks
    try:
        yield ranks
    finally:
        _acting = before


def join() -> Group | None:
    """The processes of this run, once the launcher has started more than one; None: this one is alone."""
    global _joined
    if _joined is None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        _joined = Group(dict(os.environ))
        for name in TOLD:
            os.environ.pop(name, None)
    return _joined


class Group:
    """This process among those that a launcher started. All words go through its store as JSON."""

    def __init__(self, told: dict[str, str]) -> None:
        from torch import distributed

        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in told]:
            raise CompressError(f"WORLD_SIZE is {told['WORLD_SIZE']} and {missing[0]} is not set; start the processes with torchrun")
        self.rank, self.world, self.local = int(told["RANK"]), int(told["WORLD_SIZE"]), int(told.get("LOCAL_RANK", 0))
        self.ranks = Ranks(self.rank, self.world, int(told.get("LOCAL_WORLD_SIZE", 1)))
        self.voice = os.dup(2)
        self.words = 0
        self.scratch: str | None = None
        self.ended = threading.Event()
        hosts = self.rank == 0 and told.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self.place = (told["MASTER_ADDR"], int(told["MASTER_PORT"]))
        self.name = f"compress/{told.get('TORCHELASTIC_RUN_ID', '')}/{told.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        server = distributed.TCPStore(*self.place, is_master=hosts, wait_for_workers=False)
        self.server, self.store = server, distributed.PrefixStore(self.name, server)
        if self.rank:  # only the first one speaks
            null = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(null, stream)
        grouped = distributed.PrefixStore("group", self.store)
        distributed.init_process_group(collective_backend(), store=grouped, rank=self.rank, world_size=self.world, timeout=FOREVER)
        self.pulse = threading.Thread(target=self._watch, daemon=True)
        self.pulse.start()

    def tell(self, value: Any) -> Any:
        """Says plain data to all others; gives it as they hear it."""
        words = json.dumps(value)
        self.store.set(f"word/{self.words}", words)
        self.words += 1
        return json.loads(words)

    def hear(self) -> Any:
        """What the first process tells next, however long that takes."""
        key = f"word/{self.words}"
        self.store.wait([key], FOREVER)
        self.words += 1
        return json.loads(self.store.get(key))

    @contextmanager
    def session(self) -> Iterator[None]:
        """The run of this process: an error in it ends all others, and it is over when all are."""
        try:
            yield
            if not self.rank:
                self.tell(None)
        except BaseException as error:
            self._failed(error)
            raise
        self._leave()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Where a process that publishes nothing leaves its files; gone afterwards."""
        self.scratch = tempfile.mkdtemp(prefix="compress-rank-")
        try:
            yield Path(self.scratch)
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _failed(self, error: BaseException) -> None:
        """Tells the others; where a collective call broke because a process is gone, that one is found first, and this one ends with it."""
        if isinstance(error, RuntimeError) and not isinstance(error, CompressError) and _of_connection(error):
            time.sleep(SILENT_S + 10 * BEAT_S)
        whole = str(error) if isinstance(error, CompressError) else "".join(traceback.format_exception(error)).strip()
        with suppress(RuntimeError):  # the store may be gone, too
            code = getattr(error, "exit_code", 1)
            self.store.set("failed", json.dumps({"rank": self.rank, "words": whole, "code": code}))
        if self.rank:
            time.sleep(GRACE_S + 10 * BEAT_S)  # the first one speaks, and ends this one
            self._end("", 1)
        time.sleep(2 * BEAT_S)  # the store may be this process's own: the others have to read it
        self.ended.set()

    def _leave(self) -> None:
        from torch import distributed

        with suppress(RuntimeError):
            self.store.set(f"over/{self.rank}", "")
            if not self.rank:
                self.store.wait([f"over/{other}" for other in range(self.world)], timedelta(seconds=SILENT_S))
        self.ended.set()
        self.pulse.join()
        distributed.destroy_process_group()

    def _watch(self) -> None:
        """The pulse: beats, and listens for those of the others."""
        from torch import distributed

        own = distributed.PrefixStore(self.name, distributed.TCPStore(*self.place, is_master=False, wait_for_workers=False))
        others = [0] if self.rank else list(range(1, self.world))
        started = time.monotonic()
        heard: dict[int, tuple[bytes, float]] = dict.fromkeys(others, (b"", started))
        beat = 0
        while not self.ended.wait(BEAT_S):
            try:
                beat += 1
                own.set(f"beat/{self.rank}", str(beat))
                if own.check(["failed"]):
                    self._told(json.loads(own.get("failed")))
                now = time.monotonic()
                for other in others:
                    found = own.get(f"beat/{other}") if own.check([f"beat/{other}"]) else b""
                    if found != heard[other][0] or own.check([f"over/{other}"]):
                        heard[other] = (found, now)
            except RuntimeError as error:  # the store is gone, and with it the process that had it
                if self.ended.is_set():
                    return
                self._end(f"the first of {self.world} processes is gone ({type(error).__name__}); {WAY_OUT}" if self.rank == 1 else "", 1)
            silent = [other for other, (_, last) in heard.items() if time.monotonic() - last > SILENT_S]
            if silent:
                words = f"process {silent[0] + 1} of {self.world} is gone; {WAY_OUT}"
                with suppress(RuntimeError):
                    own.set("failed", json.dumps({"rank": silent[0], "words": "", "code": 1}))
                time.sleep(0 if self.rank else 2 * BEAT_S)
                self._end(words if self.rank <= 1 else "", 1)

    def _told(self, failed: dict[str, Any]) -> None:
        """Ends this process because another one failed; the first one says why."""
        if failed["rank"] == self.rank:
            return
        if self.rank:
            self._end("", failed["code"])
        self.ended.wait(GRACE_S)  # the same error may have been met here, and is then told by the program's end
        if not self.ended.is_set():
            self._end(f"process {failed['rank'] + 1} of {self.world}: {failed['words']}", failed["code"])

    def _end(self, words: str, code: int) -> NoReturn:
        """Ends this process at once, whatever its main thread waits for. Locks go with it, and what it has half written is not published."""
        if words:
            os.write(self.voice, f"error: {words}\n".encode())
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)
        sys.stdout.flush()
        os._exit(code)


def _of_connection(error: BaseException) -> bool:
    from torch import distributed

    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower() or "peer" in str(error).lower()
