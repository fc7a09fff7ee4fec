"""A vendor's library in a process of its own: a crash there becomes an error here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def supervise(argv: Sequence[str], *, what: str, error: type[Exception], env: dict[str, str] | None = None) -> None:
    """Runs a command to its end; raises `error`, which names `what` and the signal or exit code, if it fails."""
    done = subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return
    tail = done.stderr.decode("utf-8", "replace").strip()[-2000:]
    said = f" Its last words: {tail}" if tail else " It said nothing."
    if done.returncode < 0:
        raise error(f"{what} crashed with {signal.Signals(-done.returncode).name}.{said}")
    raise error(f"{what} ended with exit code {done.returncode}.{said}")


def supervise_module(module: str, arguments: Sequence[str], *, what: str, error: type[Exception]) -> None:
    """`python -m module arguments` under `supervise`; finds the modules of this package where it lies, installed or not."""
    package = __package__ or "device.runtimes"
    root = str(Path(__file__).resolve().parents[package.count(".") + 1])
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    supervise([sys.executable, "-m", module, *arguments], what=what, error=error, env=env)
