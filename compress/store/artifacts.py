"""Artifacts: what a stage hands on, named for what it is and not for who made it.

A published artifact is a folder of files beside `artifact.json`, which holds the kind, the fingerprint, the sha256 of every file,
the ports, the metrics and where it came from. A stage returns one unpublished (`TorchModel(io_spec=..., metrics=...)`); the store
adds the rest. `load(folder)` gives back the right class by its kind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from compress.errors import StoreError
from compress.io_spec import IOSpec

SCHEMA = 1  # of artifact.json; a change that this code could not read back raises it by one
RECORD = "artifact.json"
INGREDIENTS = "ingredients.json"
CHECKPOINT = "checkpoint"  # subfolder of a partial folder from which a killed stage goes on; never published
_ABSENT = "(not set)"  # shown for a key that one of two ingredients lacks


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact: its sha256 in hex and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What every artifact carries. A stage sets `io_spec`, `metrics` and `details` (plain JSON data); publishing sets the others."""

    kind: ClassVar[str]

    path: Path | None = None  # the published folder; None until then
    fingerprint: str = ""
    parents: tuple[str, ...] = ()  # fingerprints of the artifacts that this one was made from
    files: dict[str, FileRecord] = field(default_factory=dict)  # by posix path relative to `path`
    io_spec: IOSpec | None = None
    metrics: dict[str, Any] = field(default_factory=dict)  # {"accuracy": {"value": 99.1, "unit": "%", "samples": 9673}}
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that made the result
    seconds: float = 0.0  # duration of the making; kept when the artifact is reused
    peak_bytes: int | None = None  # memory that the making took (compress/store/cost.py); None where it is not known
    created: str = ""  # UTC, ISO 8601
    run: str = ""  # name of the run that made it
    command: str = ""
    git_commit: str | None = None
    schema: int = SCHEMA

    def file(self, name: str) -> Path:
        """The path of one published file.

        Raises: StoreError when the artifact is unpublished or holds no such file.
        """
        if self.path is None or name not in self.files:
            raise StoreError(f"{self.path or 'unpublished'}: {self.kind} holds no file {name!r}; it holds {sorted(self.files)}")
        return self.path / name

    @property
    def cost(self) -> str:
        """What the making took, in words: time, and memory where it is known."""
        return f"{self.seconds:.1f} s" + (f", {self.peak_bytes / 1e9:.2f} GB" if self.peak_bytes else "")

    def to_json(self) -> dict[str, Any]:
        """Plain data as it stands in artifact.json; the path is left out, so that a store can be moved."""
        data = {"kind": self.kind, **asdict(self)}
        del data["path"]
        return {**data, "parents": list(self.parents), "io_spec": self.io_spec.to_json() if self.io_spec else None}

    def save(self, folder: Path) -> None:
        """Writes artifact.json, sealed with the sha256 of its own content.

        Raises: TypeError or ValueError for metrics or details that JSON cannot carry (arrays, NaN).
        """
        data = self.to_json()
        write_json_atomic(folder / RECORD, {**data, "seal": _seal(data)})


class DataArtifact(Artifact):
    """Prepared rows: memory-mapped inputs, row tables and labels of each split."""

    kind = "data"


class TorchModel(Artifact):
    """A torch model: teacher, student or quantized student."""

    kind = "torch_model"

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.file("model.safetensors")


class Features(Artifact):
    """What frozen encoders make of every distinct input, memory-mapped."""

    kind = "features"


class Targets(Artifact):
    """A teacher's logits for every training row and view, memory-mapped."""

    kind = "targets"


class OnnxModels(Artifact):
    """ONNX files of one model, one a target and precision."""

    kind = "onnx_models"


class Engines(Artifact):
    """TensorRT engines: caches for one device."""

    kind = "engines"


class Measurements(Artifact):
    """Timings, sizes and scores, as JSON."""

    kind = "measurements"


class Report(Artifact):
    """The page that is written from measurements."""

    kind = "report"


class Bundle(Artifact):
    """What ships to a device."""

    kind = "bundle"


KINDS: dict[str, type[Artifact]] = {
    "data": DataArtifact,
    "torch_model": TorchModel,
    "features": Features,
    "targets": Targets,
    "onnx_models": OnnxModels,
    "engines": Engines,
    "measurements": Measurements,
    "report": Report,
    "bundle": Bundle,
}


def load(folder: Path) -> Artifact:
    """The artifact published in `folder`, as the class of its kind. File hashes are not checked: see `find_fault`.

    Raises: StoreError for a missing or altered artifact.json, an unknown kind, or a schema that this version does not read.
    """
    record = read_record(folder)
    if record["schema"] != SCHEMA:
        raise StoreError(
            f"{folder / RECORD}: schema {record['schema']}, but this version of compress reads {SCHEMA}. "
            "Use the version that wrote it, or another store."
        )
    if record["kind"] not in KINDS:
        raise StoreError(
            f"{folder / RECORD}: unknown kind {record['kind']!r}; known are {', '.join(KINDS)}. Was it written by another version?"
        )
    for name, unknown in {"peak_bytes": None, "run": ""}.items():  # not written by the versions before
        record.setdefault(name, unknown)
    values = {entry.name: record[entry.name] for entry in fields(Artifact) if entry.name != "path"}
    values["parents"] = tuple(record["parents"])
    values["files"] = {name: FileRecord(**entry) for name, entry in record["files"].items()}
    values["io_spec"] = IOSpec.from_json(record["io_spec"]) if record["io_spec"] else None
    return KINDS[record["kind"]](path=folder, **values)


def read_record(folder: Path) -> dict[str, Any]:
    """The content of artifact.json.

    Raises: StoreError when it is missing, is no JSON, or does not match its own seal.
    """
    place = folder / RECORD
    try:
        record = json.loads(place.read_bytes())
        seal = record.pop("seal")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{place}: no such file, so {folder} holds no artifact. Name a folder in the store or a link in a run folder."
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{place}: damaged ({error}). Run again, and it is made anew.") from error
    if seal != _seal(record):
        raise StoreError(f"{place}: was altered after it was written (its seal does not match). Run again, and it is made anew.")
    return record


def find_fault(folder: Path, *, hashes: bool = True) -> str | None:
    """What is wrong with a published folder, in words, or None. With `hashes` off only the presence and size of files are checked."""
    try:
        record = read_record(folder)
    except StoreError as error:
        return str(error)
    if record["schema"] != SCHEMA:
        return None  # not damaged but foreign: `load` says so, and nothing may be moved or rebuilt over it
    for name, entry in record["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path}: the file is missing"
        if path.stat().st_size != entry["size"]:
            return f"{path}: {path.stat().st_size} bytes, but {entry['size']} were recorded"
        if hashes and (found := hash_file(path)) != entry["sha256"]:
            return f"{path}: sha256 {found[:12]}, but {entry['sha256'][:12]} was recorded"
    return None


def ingredients(
    stage: str,
    version: int,
    *,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    extras: Mapping[str, Any],
    libraries: Sequence[str],
) -> dict[str, Any]:
    """All that decides a stage's result, as plain JSON data; `fingerprint` hashes it and `explain` compares two of them.

    config: the stage's part of the recipe. parents: role -> fingerprint. extras: seed, data identity, content of plugins, device.
    libraries: distributions whose installed versions count; one that is missing counts as "absent".
    """
    made_of = {
        "stage": stage,
        "version": version,
        "config": config,
        "parents": parents,
        "extras": extras,
        "libraries": {name: _installed_version(name) for name in libraries},
    }
    return json.loads(canonical_json(made_of))  # through JSON, so that it equals what is later read back


def fingerprint(made_of: Mapping[str, Any]) -> str:
    """The sha256, in hex, of the ingredients' canonical JSON: independent of the order of keys."""
    return hashlib.sha256(canonical_json(made_of).encode()).hexdigest()


def explain(stage: str, made_of: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    """Why a stage must run: what differs from the ingredients that the run used last time (None: there are none)."""
    if previous is None:
        return "never made"
    reasons = []
    if made_of["version"] != previous["version"]:
        reasons.append(f"stage {stage} version {previous['version']} -> {made_of['version']}")
    reasons += [f"config {place}: {change}" for place, change in _changes("", made_of["config"], previous["config"])]
    reasons += [f"parent {role} changed" for role, _ in _changes("", made_of["parents"], previous["parents"])]
    for name, change in _changes("", made_of["extras"], previous["extras"]):
        reasons.append(f"{name}: {change}" if len(change) <= 60 else f"{name} changed")
    for name, change in _changes("", made_of["libraries"], previous["libraries"]):
        reasons.append(f"library {name} {change}".replace('"', ""))
    if len(reasons) > 3:
        reasons[3:] = [f"and {len(reasons) - 3} more"]
    return "; ".join(reasons) or "no longer in the store"


def explain_words(place: str, new: Any, old: Any) -> list[str]:
    """Where plain data differs from what it was: "place: old -> new", one a leaf; [] where it does not."""
    return [f"{where}: {change}" for where, change in _changes(place, new, old)]


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Hash and size of every file under `folder`, by posix path; the store's own files and the checkpoint are left out.

    Raises: StoreError for a symbolic link, because what it points at is not part of the artifact and may change.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in (RECORD, _temporary_name(RECORD), INGREDIENTS, CHECKPOINT):
            continue
        if path.is_symlink():
            raise StoreError(f"{path}: a symbolic link cannot be published; the stage must copy {os.readlink(path)} into its folder")
        if path.is_file():
            found[name.as_posix()] = FileRecord(hash_file(path), path.stat().st_size)
    return found


def hash_file(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(data: Any) -> str:
    """One text for equal data: sorted keys, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json_atomic(path: Path, data: Any) -> None:
    """Writes `data` so that a reader, or a kill at any moment, finds the old file or the new one and nothing between."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    fresh = path.with_name(_temporary_name(path.name))
    with fresh.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)


def _temporary_name(name: str) -> str:
    return f".{name}.tmp"  # always the same, so that the next write takes up what a killed one left


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def _installed_version(name: str) -> str:
    from importlib import metadata  # about 20 ms, and `compress --help` does not need it

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _changes(place: str, new: Any, old: Any) -> list[tuple[str, str]]:
    """(dotted place, "old -> new") for each leaf that differs; lists are walked like dicts with numbers as keys."""
    if canonical_json(new) == canonical_json(old):
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        pairs = [(f"{place}.{key}".lstrip("."), new.get(key, _ABSENT), old.get(key, _ABSENT)) for key in sorted({**old, **new})]
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(new, old, strict=True))]
    else:
        return [(place, f"{_show(old)} -> {_show(new)}")]
    return [change for pair in pairs for change in _changes(*pair)]


def _show(value: Any) -> str:
    text = value if value is _ABSENT else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
