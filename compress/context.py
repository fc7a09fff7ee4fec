"""`Context`: what a stage may know besides its config and its input artifacts, and how it tells how far it is."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TELL_EVERY_S = 20  # seconds between two lines of progress where there is no terminal to draw a bar on
SILENT_S = 24  # seconds without a word, after which a stage says that it is at work


@dataclass(frozen=True)
class Context:
    """`out` is the only folder that a stage may write to; a killed training stage finds its checkpoint there."""

    out: Path
    seed: int = 0
    threads: int = 2
    say: Callable[[str], None] = print
    base: Path = Path()  # the recipe's folder: relative paths in a recipe start here
    device: str = "cpu"  # where models run: see compress/placement.py
    watch: Callable[[], None] = lambda: None  # called with each step of progress; raises what has ended the run elsewhere
    tell: Callable[[dict[str, Any]], None] = lambda event: None  # of a trial of a sweep: hears of student and validations, may end it

    @contextmanager
    def progress(self, label: str, total: int, *, unit: str, done: int = 0) -> Iterator[Progress]:
        """Shows how many of `total` units are done: a bar with rate and time left on a terminal, a line now and then elsewhere."""
        progress = Progress(self, label, total, unit, done)
        try:
            yield progress
        finally:
            progress.close()


@contextmanager
def never_silent(label: str, say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """`say`, watched: where nothing was said for a while, such as in a library's one long call, a line says that work goes on."""
    started, said, ended = time.monotonic(), [time.monotonic()], threading.Event()

    def watched(line: str) -> None:
        said[0] = time.monotonic()
        say(line)

    def tell() -> None:
        while not ended.wait(1):
            if time.monotonic() - said[0] >= SILENT_S:
                watched(f"{label}: at work for {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()


class Progress:
    """Counts units as they are done; called with how many, and with what there is to say of them."""

    def __init__(self, ctx: Context, label: str, total: int, unit: str, done: int) -> None:
        self.ctx, self.label, self.total, self.unit = ctx, label, total, unit
        self.done = self.first = done
        self.started = self.told = time.monotonic()
        self.bar, self.task = _open_bar(label, total, done, unit)

    def __call__(self, count: int, note: str = "") -> None:
        self.done += count
        self.ctx.watch()
        if self.bar:
            self.bar.update(self.task, completed=self.done, **({"note": note} if note else {}))
        elif time.monotonic() - self.told >= TELL_EVERY_S and self.done < self.total:
            self.told = time.monotonic()
            rate = (self.done - self.first) / (self.told - self.started)
            left = f", {(self.total - self.done) / rate:.0f} s left" if rate else ""
            self.ctx.say(
                f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {rate:.3g} a second{left}{f', {note}' if note else ''}"
            )

    def close(self) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.stop()


def _open_bar(label: str, total: int, done: int, unit: str) -> tuple[Any, Any]:
    """A bar on standard error, gone when it is closed; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        return None, None
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        """Units a second."""

        def render(self, task: progress.Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[unit]}"),
        Rate(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
    bar.start()
    return bar, bar.add_task(label, total=total, completed=done, unit=unit, note="")
