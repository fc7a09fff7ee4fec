"""A user's file, a path or its content, opened so that nothing hangs: regular files of a bounded size and no others."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from .errors import FileError


def open_plain(value: str | Path | bytes, *, error: type[FileError], most: int) -> BinaryIO:
    """The file, if it is a regular one of 1 to `most` bytes: nothing else is opened, for a pipe waits for ever and a device may act.

    Raises: `error`, whose `kind` says in its reasons what the file should have been.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _within_limits(io.BytesIO(value), len(value), error, most)
    try:
        _regular(os.stat(value), error)
        file = open(value, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError):
        raise error("missing file") from None
    except (OSError, ValueError) as fault:  # ValueError: a path with a null byte
        raise error("unreadable file", getattr(fault, "strerror", None) or str(fault)) from fault
    try:
        return _within_limits(
            file, _regular(os.fstat(file.fileno()), error).st_size, error, most
        )  # again: it may have been replaced meanwhile
    except FileError:
        file.close()
        raise


def format_of(file: BinaryIO, signatures: Mapping[str, bytes], *, read: Collection[str], error: type[FileError]) -> str:
    """The format that the first bytes tell, a key of `signatures` (patterns of bytes); the file stands behind them then.

    Raises: `error` where no pattern fits, and for a format that is not among those `read`.
    """
    head = file.read(64)
    name = next((name for name, pattern in signatures.items() if re.match(pattern, head, re.DOTALL)), None)
    if name is None:
        raise error(f"not {error.noun}", f"it begins with {bytes(head[:12])!r}")
    if name not in read:
        raise error("unsupported format", f"{name}; save it as {error.way_out}")
    return name


def _regular(status: os.stat_result, error: type[FileError]) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise error("not a regular file", kinds.get(stat.S_IFMT(status.st_mode), "a device"))
    return status


def _within_limits(file: BinaryIO, size: int, error: type[FileError], most: int) -> BinaryIO:
    if not size:
        raise error(f"broken {error.kind}", "the file is empty")
    if size > most:
        raise error(f"{error.kind} too large", f"{size:,} bytes, more than {most:,}")
    return file
