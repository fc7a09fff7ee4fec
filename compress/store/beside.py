"""`Beside`: stages that nothing waits for at once, each made in a process of its own, whose memory goes when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from compress import errors
from compress.context import never_silent
from compress.errors import CompressError
from compress.placement import CPU
from compress.recipe.grammar import LoadedRecipe
from compress.store.artifacts import Artifact, fingerprint
from compress.store.keys import number, stage_of

BESIDE = {  # stage -> the first one that waits for it
    "export_teacher": "benchmark",  # takes minutes and gigabytes, and the student is trained meanwhile
    "alone": "distill",  # a small student's steps are hardly faster on two threads than on one, so both are trained at once
}
TRAINING = "alone"  # has its share of the threads


class Beside:
    """The processes of one run; those that still run when it ends, such as after an error or by being killed, end with it."""

    def __init__(
        self, loaded: LoadedRecipe, *, runs: Path, threads: int, device: str = "cpu", last: str | None = None, store: str | None = None
    ) -> None:
        self.last, self.threads, self.device = last, threads, device
        overrides = [word for override in loaded.overrides for word in ("-o", override)]
        self.command = [sys.executable, "-m", "compress", "make-beside", str(loaded.path), *overrides, "--runs", str(runs)]
        self.command += ["--device", device, "--with-parent", *(["--store", store] if store else [])]
        self.running: dict[str, tuple[str, subprocess.Popen[bytes], Any]] = {}  # fingerprint -> stage, process, what it says

    def may(self, stage: str, *, shared: bool) -> bool:
        """Whether a stage is made in a process of its own. `shared`: other processes take part in this one's trainings.

        A training is, where there are processors for two and nobody takes part in it.
        """
        return stage in BESIDE and (stage != TRAINING or (self.device == CPU and self.threads > 1 and not shared))

    def lent(self) -> int:
        """How many threads a training has in another process."""
        return self.threads // 2 if any(name == TRAINING for name, *_ in self.running.values()) else 0

    def start(self, name: str, made_of: dict[str, Any]) -> Artifact:
        """Starts the stage, unless the run ends before anything waits for it; the artifact that it will be: only its fingerprint is known."""
        key = fingerprint(made_of)
        if self.last is not None and number(stage_of(self.last)) < number(BESIDE[stage_of(name)]):
            return Artifact(fingerprint=key)
        said = tempfile.TemporaryFile()
        root = str(Path(__file__).parents[2])  # makes a checkout importable that nobody installed
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
        threads = self.threads // 2 if name == TRAINING else self.threads
        asked = [*self.command, "--threads", str(threads), "--stage", name]
        process = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=env)
        self.running[key] = (name, process, said)
        return Artifact(fingerprint=key)

    def wait(self, artifact: Artifact, say: Callable[[str], None] = lambda line: None) -> str | None:
        """The stage of an artifact that is made beside the run, once it is made; None for any other artifact.

        `say` is told now and then that it is still at work. Raises the error that ended the process.
        """
        if artifact.fingerprint not in self.running:
            return None
        name, process, said = self.running.pop(artifact.fingerprint)
        with never_silent(name, say):
            code = process.wait()
        with said:
            said.seek(0)
            words = said.read()
        if code:
            lines = words.decode("utf-8", "replace").strip().splitlines() or [f"its process ended with {code}"]
            kinds = {kind.exit_code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CompressError)}
            raise kinds.get(code, CompressError)(f"{name}: {lines[-1].removeprefix('error: ')}")
        return name

    def check(self) -> None:
        """Raises the error of a process that has already ended with one: the run would end with it anyway, only later."""
        for key, (_, process, _) in list(self.running.items()):
            if process.poll():
                self.wait(Artifact(fingerprint=key))

    def __enter__(self) -> Beside:
        return self

    @staticmethod
    def end_with_parent() -> None:
        """In such a process: ends it when its input is closed, which is so at the latest when the run is gone. A lock that it holds goes too."""

        def watch() -> None:
            while os.read(0, 1):  # not through sys.stdin, which the interpreter wants to close when the stage is made
                pass
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _, process, said in self.running.values():
            process.terminate()
            process.wait()
            said.close()
