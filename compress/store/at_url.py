"""A store that machines share, on any URL that fsspec reads: `SharedStore`, whose entries are mirrored to the local store and mapped there.

URL/<stage>/<fingerprint>/<seal>/            the files of one making, and ingredients.json
URL/<stage>/<fingerprint>/artifact.json      written last, whole, and only where there is none: it names the making by its seal

There is no lock: equal keys may be made by two machines at once, each below a seal of its own, and the first to write artifact.json wins. Every
file is checked by its hash when it is mirrored. Whoever can write to the URL is trusted for what artifacts say, not for where they are put.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from compress.errors import CompressError, DependencyError, StoreError
from compress.store.artifacts import INGREDIENTS, RECORD, Artifact, find_fault, fingerprint, load, write_json_atomic
from compress.store.store import Entry, Store, storage_errors

_SEAL = re.compile("[0-9a-f]{64}")


def open_store(url: str | None, runs: Path, *, say: Callable[[str], None] = print) -> Store:
    """The store of a folder of runs; with a URL, behind it the one that machines share."""
    return SharedStore(url, runs / ".store", say=say, runs=runs) if url else Store(runs / ".store", say=say, runs=runs)


class SharedStore(Store):
    """The local store `root`, and behind it one at `url`: what is missing here is fetched from there, and what is made here is put there."""

    def __init__(self, url: str, root: Path, *, say: Callable[[str], None] = print, runs: Path | None = None) -> None:
        super().__init__(root, say=say, runs=runs)
        self.url = url.rstrip("/")
        self.system, self.place = _open(self.url)

    def look_up(self, stage: str, key: str, *, verify: bool = True) -> Artifact | None:
        """The artifact of the local store; or that of the URL, mirrored and checked. A damaged one there is told of and counts as absent."""
        found = super().look_up(stage, key, verify=verify)
        return found or self._fetch(stage, key)

    def publish(self, folder: Path, artifact: Artifact, *, made_of: Mapping[str, Any]) -> Artifact:
        """As the local store does, then at the URL; where another machine was first its artifact is taken instead of this one."""
        made, key = super().publish(folder, artifact, made_of=made_of), fingerprint(made_of)
        if self._put(made, made_of["stage"], key):
            return made
        self._say(f"{made_of['stage']}: another machine put it to {self.url} first; its artifact is taken")
        self.discard(made_of["stage"], key)
        first = self._fetch(made_of["stage"], key)
        if first is None:
            raise StoreError(
                f"{self._entry(made_of['stage'], key)}: what another machine put there cannot be read; remove it and run again"
            )
        return first

    def half_written(self, older_s: float = 86_400) -> list[Entry]:
        """The makings at the URL that no artifact.json names and nothing was written to for so long: of killed machines, and of those that lost."""
        found = []
        with self._errors():
            for stage, key, seal, folder in self._makings():
                record = self._record(stage, key)
                files = self.system.find(folder, detail=True).values()
                newest = max((_modified(info) for info in files), default=0.0)
                if (record is None or record["seal"] != seal) and time.time() - newest >= older_s:
                    size, when = sum(info["size"] or 0 for info in files), datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")
                    found.append(Entry("partial", stage, key, Path(folder), size, when, 0.0, ()))
        return found

    def gc(self, keep: Collection[str] = (), *, dry_run: bool = False, partial_age_s: float = 86_400) -> list[Entry]:
        """As the local store does; and at the URL removes what `half_written` lists. Published entries there are everyone's, and stay."""
        removed, half = super().gc(keep, dry_run=dry_run, partial_age_s=partial_age_s), self.half_written(partial_age_s)
        with self._errors():
            for entry in [] if dry_run else half:
                self.system.rm(str(entry.path), recursive=True)
        return removed + half

    def _fetch(self, stage: str, key: str) -> Artifact | None:
        with self._errors():
            record = self._record(stage, key)
            if record is None:
                return None
            making = f"{self._entry(stage, key)}/{record['seal']}"
            folder = self.root / "partial" / f"{stage}-{key}.{os.getpid()}"  # not where it is made: there may be a checkpoint
            shutil.rmtree(folder, ignore_errors=True)
            for name in (*record["files"], INGREDIENTS):
                target = folder / _inside(name, self._entry(stage, key))
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # told below
                    self.system.get_file(f"{making}/{name}", str(target))
            write_json_atomic(folder / RECORD, record)
        if fault := self._fault(folder, key):
            shutil.rmtree(folder)
            self._say(f"{fault}. The {stage} at {self.url} is damaged, so it is made again here.")
            return None
        with storage_errors(folder):
            self.entry(stage, key).parent.mkdir(parents=True, exist_ok=True)
            return self._move_into_place(folder, stage, key)

    def _fault(self, folder: Path, key: str) -> str | None:
        if fault := find_fault(folder):
            return fault
        try:
            if fingerprint(json.loads((folder / INGREDIENTS).read_bytes())) == key == load(folder).fingerprint:
                return None
        except (OSError, ValueError):
            pass
        return f"{folder}: its ingredients are not those of {key[:12]}"

    def _put(self, made: Artifact, stage: str, key: str) -> bool:
        """Whether it is the artifact of that key at the URL: then this call put it there, or an equal one lay there."""
        assert made.path
        text = (made.path / RECORD).read_bytes()
        seal, entry = json.loads(text)["seal"], self._entry(stage, key)
        with self._errors():
            if (record := self._record(stage, key)) is not None:
                return bool(record["seal"] == seal)
            for name in (*made.files, INGREDIENTS):
                self.system.makedirs(f"{entry}/{seal}/{name}".rpartition("/")[0], exist_ok=True)
                self.system.put_file(str(made.path / name), f"{entry}/{seal}/{name}")
            try:
                self.system.pipe_file(f"{entry}/{RECORD}", text, mode="create")  # on S3 If-None-Match: *
            except FileExistsError:
                self.system.rm(f"{entry}/{seal}", recursive=True)
                return False
            except (NotImplementedError, TypeError, ValueError) as error:
                self._say(
                    f"{self.url} cannot write a file only where there is none ({error}); of two machines at once the last one wins there"
                )
                self.system.pipe_file(f"{entry}/{RECORD}", text)
        return True

    def _record(self, stage: str, key: str) -> dict[str, Any] | None:
        """artifact.json at the URL; None where there is none, or where it is being written."""
        self.system.invalidate_cache()
        try:
            record = json.loads(self.system.cat_file(f"{self._entry(stage, key)}/{RECORD}"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        whole = isinstance(record, dict) and _SEAL.fullmatch(str(record.get("seal"))) and isinstance(record.get("files"), dict)
        return record if whole else None

    def _entry(self, stage: str, key: str) -> str:
        return f"{self.place}/{stage}/{key}"

    def _makings(self) -> Iterator[tuple[str, str, str, str]]:
        """Stage, fingerprint, seal and folder of every making at the URL."""
        self.system.invalidate_cache()
        folders = {}
        for path in self.system.find(self.place):
            parts = path[len(self.place) :].strip("/").split("/")
            if len(parts) > 3 and all(map(_SEAL.fullmatch, parts[1:3])):
                folders["/".join(parts[:3])] = parts
        for place, (stage, key, seal, *_) in sorted(folders.items()):
            yield stage, key, seal, f"{self.place}/{place}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CompressError:
            raise
        except Exception as error:  # every file system has errors of its own
            raise StoreError(
                f"{self.url}: {type(error).__name__}: {error}. What was made is in the local store; run the same command again."
            ) from error


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DependencyError("--store: a store at a URL needs fsspec: pip install 'compress[shared]'") from error
    try:
        system, place = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DependencyError(f"--store {url}: {error}") from error
    return system, place.rstrip("/")


def _inside(name: str, entry: str) -> PurePosixPath:
    """The name of a file, which must not lead out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise StoreError(f"{entry}: a file is called {name!r}, which leads out of its folder; nothing of it is taken")
    return path


def _modified(info: Mapping[str, Any]) -> float:
    """When a file was last written to, in seconds since 1970; 0 where its file system does not say."""
    when = next((info[name] for name in ("mtime", "LastModified", "last_modified", "created", "updated") if info.get(name)), 0.0)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    return float(when.timestamp() if isinstance(when, datetime) else when)
