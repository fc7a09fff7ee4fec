"""Starts a program in several processes, as a launcher does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """start(count, *arguments, **environment) starts `python *arguments` that many times, each with its place among them."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *arguments: str, **more: str) -> list[subprocess.Popen[str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **more}
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started.append(subprocess.Popen([sys.executable, *arguments], env={**env, **own}, text=True, **streams))
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.communicate()
