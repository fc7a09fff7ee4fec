"""The manifest of a bundle: sha256 and size of every file, written once and checked on each device.

`manifest.json` lists all files but itself, its signature and what a device adds later (engines, caches, measurements, its choice). A folder
verifies when it holds exactly the listed files, unchanged. Standard library only, so that nothing else is imported before the check.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import ManifestError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
DEVICE_FILES = ("*.engine", "*.engine.json", "engines/*", "measurements*.json", "chosen.json")  # added by a device, so never listed
SCHEMA = 1


def write_manifest(folder: Path, *, extra: dict[str, Any]) -> dict[str, Any]:
    """The manifest of all files under `folder`, also written to manifest.json; `extra` stands beside the list of files.

    The same files and extra give the same bytes. Raises ManifestError for a link or a special file.
    """
    if "files" in extra or "schema" in extra:
        raise ManifestError(f"{folder / MANIFEST}: the keys 'files' and 'schema' are the manifest's own; rename them in extra")
    files = {}
    for name in _list_files(folder):
        path = folder / name
        files[name] = {"sha256": hash_file(path), "size": path.stat().st_size}
    manifest = {"schema": SCHEMA, **extra, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return manifest


def verify_folder(folder: Path) -> dict[str, Any]:
    """The manifest, once every file of `folder` was found as listed.

    Cheap checks come first (paths, links, missing and unlisted files, sizes), so that a false size is refused before anything is hashed.
    Raises ManifestError, whose message names the file and what is wrong with it.
    """
    manifest = read_manifest(folder)
    listed = manifest["files"]
    found = set(_list_files(folder))
    for name in listed:
        if name not in found:
            raise ManifestError(f"{folder / name}: listed in {MANIFEST}, but missing; copy the bundle again")
    for name in sorted(found - set(listed)):
        raise ManifestError(f"{folder / name}: not listed in {MANIFEST}; delete it, or copy the bundle again")
    check_files(folder, manifest, names=list(listed))
    return manifest


def check_files(folder: Path, manifest: dict[str, Any], *, names: list[str]) -> None:
    """Compares size, then sha256 of the named files with the manifest; raises ManifestError at the first that differs."""
    for name in names:
        if name not in manifest["files"]:
            raise ManifestError(f"{folder / name}: not listed in {MANIFEST}; delete it, or copy the bundle again")
        _refuse_links(folder, name)
        if not (folder / name).is_file():
            raise ManifestError(f"{folder / name}: listed in {MANIFEST}, but missing; copy the bundle again")
        size, expected = (folder / name).stat().st_size, manifest["files"][name]["size"]
        if size != expected:
            raise ManifestError(f"{folder / name}: {size} bytes, but {MANIFEST} says {expected}; copy the bundle again")
    for name in names:
        digest, expected = hash_file(folder / name), manifest["files"][name]["sha256"]
        if digest != expected:
            raise ManifestError(f"{folder / name}: sha256 {digest[:12]}..., but {MANIFEST} says {expected[:12]}...; the file was changed")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of manifest.json with every path checked; raises ManifestError if it is absent, malformed or climbs out."""
    path = folder / MANIFEST
    if path.is_symlink():
        raise ManifestError(f"{path}: a symbolic link; a bundle holds plain files only")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; this folder is not a bundle") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: cannot be read as JSON ({error}); copy the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA or not isinstance(manifest.get("files"), dict):
        raise ManifestError(f"{path}: not a manifest of schema {SCHEMA}; use the runner that came with the bundle")
    for name, entry in manifest["files"].items():
        check_path(name, place=str(path))
        if not _is_entry(entry):
            raise ManifestError(f"{path}: entry {name!r} needs a sha256 of 64 hex digits and a size in bytes")
    return manifest


def check_path(name: str, *, place: str) -> None:
    """Refuses a relative path that is absolute, climbs out of its folder, or means different files on different systems."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ":" in name or "\0" in name:
        raise ManifestError(f"{place}: path {name!r} is absolute or not portable; a bundle's paths are relative, with forward slashes")
    if ".." in parts:
        raise ManifestError(f"{place}: path {name!r} climbs out of the folder")
    if not parts or name != "/".join(parts):
        raise ManifestError(f"{place}: path {name!r} is empty or not in its shortest form")


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes as 64 hex digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _list_files(folder: Path) -> list[str]:
    """Sorted relative paths of the plain files that a manifest covers; a link or special file anywhere is refused."""
    names = []
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise ManifestError(f"{path}: a symbolic link; a bundle holds plain files only")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ManifestError(f"{path}: a device, socket or pipe; a bundle holds plain files only")
        names += [Path(root, name).relative_to(folder).as_posix() for name in files]
    return sorted(name for name in names if name not in (MANIFEST, SIGNATURE) and not _is_device_file(name))


def _is_device_file(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in DEVICE_FILES)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("size"), int) or entry["size"] < 0:
        return False
    digest = entry.get("sha256")
    return isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def _refuse_links(folder: Path, name: str) -> None:
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise ManifestError(f"{path}: a symbolic link; a bundle holds plain files only")
