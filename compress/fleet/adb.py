"""Commands on an Android device through adb, in the form of `Remote`: its shell needs tar and a Python that it can run.

Tested with a stand-in for adb that runs commands here; no phone was at hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import IO

from compress.errors import CompressError, DependencyError
from compress.fleet.remote import Device, last_line, start

SERIAL = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
FOLDER = "/data/local/tmp"  # where adb's shell may write and run
OWN_ERROR = r"(adb|error): .*"  # of adb itself, which has no exit code of its own


class Adb:
    """Commands on one device, each by one call of adb; serial: which of several."""

    def __init__(self, serial: str | None = None) -> None:
        if serial is not None and not re.fullmatch(SERIAL, serial):
            raise CompressError(f"adb:{serial}: no serial number of a device; `adb devices` lists them")
        self.device = Device(host=f"adb:{serial}" if serial else "adb", folder=FOLDER)
        self._command = ["adb", *(["-s", serial] if serial else []), "shell", "-T"]

    def call(self, words: list[str], *, send: Callable[[IO[bytes]], None] | None = None) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of a command there; `send` writes its stdin. Raises DependencyError where adb itself fails."""
        code, stdout, stderr = start([*self._command, shlex.join(words)], send=send, missing="adb: no such command here; install it")
        if code and re.fullmatch(OWN_ERROR, said := last_line(stderr)):
            raise DependencyError(f"{self.device}: not reached: {said}; `adb devices` must list it as a device")
        return code, stdout, stderr
