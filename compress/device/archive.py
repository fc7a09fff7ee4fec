"""Unpacks a bundle that came as .zip or .tar.gz, without trusting it: no path that climbs out, no links, no bombs.

Everything is written to a folder beside the target, which gets its name only once all of it was accepted.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from .errors import ManifestError
from .manifest import MANIFEST, check_path

MAX_BYTES = 4 << 30  # bytes of all files together
MAX_RATIO = 200  # unpacked bytes for each packed one; weights and text stay under 20
FREE_BYTES = 1 << 20  # below this total the ratio says nothing: a small bundle with a constant file is no bomb
MAX_FILES = 10_000


def unpack_bundle(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_ratio: int = MAX_RATIO) -> Path:
    """`folder`, newly made, with the archive's files; a single top folder that holds the manifest is taken as the bundle itself.

    Raises ManifestError, with nothing left in `folder`, for a path that climbs out, a link, a name given twice, an archive that is broken
    or encrypted, or one that unpacks to more than `max_bytes` or `max_ratio` times its own size, by its declared or its actual sizes.
    """
    if folder.exists():
        raise ManifestError(f"{folder}: exists already; unpack into a new folder")
    try:
        limit = min(max_bytes, max(archive.stat().st_size * max_ratio, FREE_BYTES))
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder.parent))
    except OSError as error:
        raise ManifestError(f"{archive}: cannot be unpacked ({error})") from error
    try:
        _write_files(archive, scratch, limit=limit)
        root = _bundle_root(scratch)
        root.chmod(0o755)  # mkdtemp made the scratch folder private
        os.rename(root, folder)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError and NotImplementedError are what zipfile raises for encryption and unknown compression
        raise ManifestError(f"{archive}: broken, encrypted or not an archive ({error}); copy it again") from error
    except OSError as error:
        raise ManifestError(f"{archive}: cannot be unpacked to {folder} ({error})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _write_files(archive: Path, folder: Path, *, limit: int) -> None:
    members = _zip_files(archive, limit) if zipfile.is_zipfile(archive) else _tar_files(archive, limit)
    left = limit
    seen: set[str] = set()
    for name, source in members:
        if name in seen or len(seen) >= MAX_FILES:
            raise ManifestError(f"{archive}: {name!r} is given twice, or there are more than {MAX_FILES} files")
        seen.add(name)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            for block in iter(partial(source.read, 1 << 16), b""):
                left -= len(block)
                if left < 0:
                    raise _bomb(archive, limit)
                file.write(block)


def _zip_files(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as file:
        if sum(info.file_size for info in file.infolist()) > limit:
            raise _bomb(archive, limit)
        for info in file.infolist():
            check_path(info.filename.rstrip("/"), place=str(archive))
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: written where there are no Unix modes
                raise _not_plain(archive, info.filename)
            if not info.is_dir():
                with file.open(info) as source:
                    yield info.filename, source


def _tar_files(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    # a header can be as large as a file and is read into memory by tarfile: the limit (plus padding) is held below it
    with gzip.GzipFile(archive, "rb") as packed, tarfile.open(fileobj=_Limited(packed, archive, limit), mode="r|") as file:
        for info in file:
            check_path(info.name, place=str(archive))
            if not (info.isreg() or info.isdir()):
                raise _not_plain(archive, info.name)
            if info.size > limit:
                raise _bomb(archive, limit)
            if info.isreg():
                source = file.extractfile(info)
                assert source is not None  # by isreg above
                yield info.name, source


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than `limit` bytes and tar's padding of at most 1 KiB a file."""

    def __init__(self, stream: gzip.GzipFile, archive: Path, limit: int) -> None:
        self.stream, self.archive, self.limit = stream, archive, limit
        self.left = limit + MAX_FILES * 1024

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(block)
        if self.left < 0:
            raise _bomb(self.archive, self.limit)
        return block


def _bundle_root(folder: Path) -> Path:
    entries = list(folder.iterdir())
    single = len(entries) == 1 and (entries[0] / MANIFEST).is_file()
    return entries[0] if single else folder


def _bomb(archive: Path, limit: int) -> ManifestError:
    return ManifestError(f"{archive}: unpacks to more than {limit} bytes, which no bundle of this size does; refused as a zip bomb")


def _not_plain(archive: Path, name: str) -> ManifestError:
    return ManifestError(f"{archive}: {name!r} is a link or a special file; a bundle holds plain files only")
