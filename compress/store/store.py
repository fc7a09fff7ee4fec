"""The store: artifacts by fingerprint, published by rename, locked while they are made; and the run folders that link to them.

runs/.store/<stage>/<fingerprint>/          artifact.json, ingredients.json and the stage's files
runs/.store/partial/<stage>-<fingerprint>/  being made, or left by a killed stage with its checkpoint/
runs/.store/corrupt/                        entries whose hashes did not match
runs/<name>/3-distill                       relative link into the store
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from compress.errors import CompressError, StoreError
from compress.store.artifacts import CHECKPOINT, INGREDIENTS, Artifact, find_fault, fingerprint, load, record_files, write_json_atomic

_OWN_FOLDERS = ("partial", "corrupt", "locks")
_KEY = re.compile("[0-9a-f]{64}")  # only folders of such a name are entries: gc must touch nothing else
_RUN_LOCK = ".lock"  # in every run folder
_FULL_BYTES = 1 << 20  # a disk with less room than this counts as full when a library fails without saying why

# errno -> what is wrong, way out
_FAULTS = {
    errno.ENOSPC: ("the disk is full", "Make room ('compress store gc' removes what no run uses) or choose another folder, and run again."),
    errno.EDQUOT: ("the disk quota is used up", "Make room ('compress store gc' removes what no run uses) or raise it, and run again."),
    errno.EROFS: ("the file system is read-only", "Mount it writable or choose another output folder."),
    errno.EACCES: ("permission denied", "Change the owner or mode, or choose another output folder."),
    errno.EPERM: ("operation not permitted", "Change the owner or mode, or choose another output folder."),
    errno.EIO: ("the disk reports a read or write error", "Check the disk, or choose another output folder."),
}


class storage_errors:
    """A context in which a full, read-only, forbidden or failing disk becomes a StoreError with place and way out.

    Wrap stages in it: safetensors and torch report a full disk with types of their own, so `except OSError` is not enough.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, CompressError):
            translated = translate_os_error(error, self._path)
            if translated is not None:
                raise translated from error


def translate_os_error(error: Exception, path: Path) -> StoreError | None:
    """The StoreError that stands for an error of the disk under `path`; None when `error` is of another sort."""
    free_bytes = _free_bytes(path)
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        # safetensors puts strerror's text in a type of its own; numpy ("100000 requested and 16352 written") and torch
        # ("unexpected pos 576 vs 534") say nothing of the disk, so its free space decides.
        named = [number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) if os.strerror(number) in str(error)]
        silent = isinstance(error, (OSError, RuntimeError)) and free_bytes < _FULL_BYTES
        code = named[0] if named else errno.ENOSPC if silent else None
    if code not in _FAULTS:
        return None
    place = getattr(error, "filename", None) or path
    what, way_out = _FAULTS[code]
    return StoreError(f"{place}: {what} ({free_bytes / 1e6:.1f} MB free; {error}). {way_out}")


@contextmanager
def hold(lock: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds an inter-process lock; the kernel drops it when this process ends, however it ends. `wait`: until another process lets go of it.

    Raises: StoreError, at once, when another process holds it; the message names `what` and the process.
    """
    from filelock import FileLock, Timeout  # about 25 ms, and only commands that write need it

    holder = lock.with_suffix(".holder")  # beside the lock: some versions of filelock truncate the lock file itself
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        guard = FileLock(lock)
        try:
            guard.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise StoreError(f"{what} is in use by {_read_holder(holder)}. Wait until it ends, or end it and run again.") from error
    try:
        with storage_errors(lock):
            holder.write_text(f"process {os.getpid()} on {os.uname().nodename}")
        yield
    finally:
        with suppress(OSError):  # a stale name is harmless, and the lock must go
            holder.unlink()
        guard.release()


@dataclass(frozen=True)
class Entry:
    """One line of `compress store ls`."""

    state: str  # "published", "partial" (being made, or interrupted) or "corrupt"
    stage: str
    fingerprint: str
    path: Path
    size_bytes: int
    created: str  # UTC, ISO 8601
    seconds: float  # that the making took; 0 when unknown
    used_by: tuple[str, ...]  # names of run folders that link to it


class Store:
    """Artifacts under `root`. Run folders are looked for in `runs`, by default the folder that holds the store."""

    def __init__(self, root: Path, *, say: Callable[[str], None] = print, runs: Path | None = None) -> None:
        self.root = root
        self.runs = runs or root.parent
        self.waits = False  # for an artifact that another process makes, in place of an error: trials of a sweep begin alike
        self._say = say

    def entry(self, stage: str, key: str) -> Path:
        """Where the artifact with fingerprint `key` lies once it is published."""
        return self.root / stage / key

    def partial_folder(self, stage: str, key: str) -> Path:
        """Where it lies while it is made; that it exists with a checkpoint/ says that a killed stage will go on."""
        return self.root / "partial" / f"{stage}-{key}"

    def look_up(self, stage: str, key: str, *, verify: bool = True) -> Artifact | None:
        """The published artifact, or None. Files are checked by size and, with `verify`, by sha256; a damaged entry is moved
        to corrupt/, reported through `say`, and counts as absent, so that it is made again.

        Raises: StoreError for an entry of another schema or kind, or when a damaged entry cannot be moved.
        """
        folder = self.entry(stage, key)
        with storage_errors(folder):
            if not folder.exists():
                return None
            fault = find_fault(folder, hashes=verify)
            if fault is None:
                return load(folder)
            aside = self.root / "corrupt" / f"{stage}-{key}-{time.time_ns()}"
            aside.parent.mkdir(exist_ok=True)
            os.rename(folder, aside)
        self._say(f"{fault}. The damaged {stage} was moved to {aside} and will be made again.")
        return None

    @contextmanager
    def partial(self, stage: str, key: str) -> Iterator[Path]:
        """The locked folder in which the artifact is made. It stays when the body raises or the process is killed; the next
        one finds it as it was if it holds a checkpoint/, and empty if not.

        Raises: StoreError when another process makes the same artifact.
        """
        folder = self.partial_folder(stage, key)
        with hold(self._lock(stage, key), f"{self.entry(stage, key)} (being made)", wait=self.waits):
            with storage_errors(folder):
                if folder.exists() and not (folder / CHECKPOINT).is_dir():
                    shutil.rmtree(folder)  # nothing to go on from, and half-written files must not be published
                folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def publish(self, folder: Path, artifact: Artifact, *, made_of: Mapping[str, Any]) -> Artifact:
        """Hashes the files of a partial folder, writes its records and renames it into place; gives the artifact as `load` does.

        An entry that another process published meanwhile is kept, and this one dropped.
        """
        stage, key = made_of["stage"], fingerprint(made_of)
        with storage_errors(folder):
            write_json_atomic(folder / INGREDIENTS, made_of)
            replace(
                artifact,
                fingerprint=key,
                parents=tuple(made_of["parents"].values()),
                files=record_files(folder),
                versions=dict(made_of["libraries"]),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                command=shlex.join(sys.argv),
                git_commit=_git_commit(),
            ).save(folder)
            # Last, so that a full disk above still leaves the checkpoint to go on from.
            if (folder / CHECKPOINT).exists():
                shutil.rmtree(folder / CHECKPOINT)
            self.entry(stage, key).parent.mkdir(parents=True, exist_ok=True)
            return self._move_into_place(folder, stage, key)

    def discard(self, stage: str, key: str) -> None:
        """Removes a published entry, so that the same ingredients are made into it anew; nothing happens where there is none."""
        folder = self.entry(stage, key)
        with storage_errors(folder):
            if folder.exists():
                aside = self.root / "corrupt" / f"{stage}-{key}-{time.time_ns()}"
                aside.parent.mkdir(exist_ok=True)
                os.rename(folder, aside)  # in one step: a reader never sees half an entry
                shutil.rmtree(aside)

    def previous(self, stage: str, run: Path) -> dict[str, Any] | None:
        """The ingredients that `run` used for `stage` last time, or None when it has none or they were removed."""
        target = RunFolder(run).links().get(stage)
        try:
            made_of = json.loads((target / INGREDIENTS).read_bytes()) if target else None
        except (OSError, ValueError):
            return None  # only the explanation is lost: the entry itself is checked by look_up
        return made_of if target and made_of and fingerprint(made_of) == target.name else None

    def ls(self) -> list[Entry]:
        """Everything in the store: published by stage, then what is half made, then what was found damaged."""
        users = self._users()
        published = [
            self._describe(path, "published", users, named=(path.parent.name, path.name))
            for path in sorted(self.root.glob("*/*"))
            if path.parent.name not in _OWN_FOLDERS and _KEY.fullmatch(path.name)
        ]
        return published + [
            self._describe(path, state, users, named=(match[1], match[2]))
            for state in ("partial", "corrupt")
            for path in sorted(self.root.glob(f"{state}/*"))
            if (match := re.match(f"(.+?)-({_KEY.pattern})", path.name))
        ]

    def gc(self, keep: Collection[str] = (), *, dry_run: bool = False, partial_age_s: float = 86_400) -> list[Entry]:
        """Removes, and lists, published entries that no run folder links to and whose fingerprint is not in `keep`, damaged
        entries, and partial folders that nobody works in and nothing was written to for `partial_age_s` seconds.

        Raises: StoreError while a run is going on, because it may be about to link to an entry.
        """
        with ExitStack() as locks, storage_errors(self.root):
            if not dry_run:
                for run in self._run_folders():
                    locks.enter_context(run.hold())
            chosen = [
                entry for entry in self.ls() if entry.fingerprint not in keep and not entry.used_by and self._is_stale(entry, partial_age_s)
            ]
            for entry in [] if dry_run else chosen:
                shutil.rmtree(entry.path)
        return chosen

    def _lock(self, stage: str, key: str) -> Path:
        return self.root / "locks" / f"{stage}-{key}.lock"

    def _move_into_place(self, folder: Path, stage: str, key: str) -> Artifact:
        target = self.entry(stage, key)
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if (existing := self.look_up(stage, key)) is not None:
                shutil.rmtree(folder)
                return existing
            os.rename(folder, target)  # the one in the way was damaged, and look_up moved it aside
        _sync_folder(target.parent)
        return load(target)

    def _run_folders(self) -> list[RunFolder]:
        return [RunFolder(lock.parent) for lock in sorted(self.runs.glob(f"*/{_RUN_LOCK}"))]

    def _users(self) -> dict[Path, list[str]]:
        """Resolved entry -> names of the runs that link to it."""
        users: dict[Path, list[str]] = {}
        for run in self._run_folders():
            for target in run.links().values():
                users.setdefault(target, []).append(run.path.name)
        return users

    def _describe(self, path: Path, state: str, users: Mapping[Path, list[str]], *, named: tuple[str, str]) -> Entry:
        size_bytes = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
        created, seconds = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"), 0.0
        if state == "published":
            try:
                artifact = load(path)
                created, seconds = artifact.created, artifact.seconds
            except StoreError:
                state = "corrupt"
        return Entry(state, *named, path, size_bytes, created, seconds, tuple(users.get(path.resolve(), ())))

    def _is_stale(self, entry: Entry, partial_age_s: float) -> bool:
        if entry.state != "partial":
            return True
        try:
            with hold(self._lock(entry.stage, entry.fingerprint), str(entry.path)):
                newest = max(file.lstat().st_mtime for file in (entry.path, *entry.path.rglob("*")))
        except StoreError:
            return False  # somebody works in it
        return time.time() - newest >= partial_age_s


class RunFolder:
    """`runs/<name>`: numbered links into the store, read from top to bottom, and the run's own files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.linked: set[str] = set()  # in this run: of several teachers, artifacts share a number

    @contextmanager
    def hold(self) -> Iterator[Path]:
        """Creates the folder and keeps a second run out of it.

        Raises: StoreError when another process runs in it, or when it cannot be written.
        """
        with hold(self.path / _RUN_LOCK, f"run folder {self.path}"):
            yield self.path

    def link(self, index: int, stage: str, target: Path) -> Path:
        """Makes `<index>-<stage>` point at a published entry, replacing in one step what was there; links of the same stage or
        number from an earlier recipe are removed. The link is relative, so that the whole runs folder can be moved."""
        self.linked.add(stage)
        link = self.path / f"{index}-{stage}"
        fresh = self.path / f".{link.name}.{os.getpid()}"
        with storage_errors(link):
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(os.path.relpath(target.resolve(), self.path.resolve()))
            os.replace(fresh, link)
            for other, number, name in self._numbered():
                if other != link and (name == stage or (number == index and name not in self.linked)):
                    other.unlink()
        return link

    def links(self) -> dict[str, Path]:
        """Stage -> resolved target, in the order of the numbers. A target may be gone."""
        return {stage: link.resolve() for link, _, stage in self._numbered()}

    def _numbered(self) -> list[tuple[Path, int, str]]:
        matches = [(path, re.fullmatch(r"(\d+)-(.+)", path.name)) for path in self.path.glob("*") if path.is_symlink()]
        return sorted(((path, int(match[1]), match[2]) for path, match in matches if match), key=lambda item: item[1:])


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    return shutil.disk_usage(existing).free


def _read_holder(holder: Path) -> str:
    try:
        return holder.read_text() or "another process"
    except OSError:
        return "another process"  # it has the lock, but has not yet written its name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with "-dirty" when files differ from it; None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
