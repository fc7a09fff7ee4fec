"""Engines of this device: built once from a bundle's ONNX file, kept under their key in `engines/`, built again when the key changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .contents import IO_SPEC, BundleFolder, Model
from .errors import DeviceError
from .manifest import check_files, hash_file, read_manifest
from .runtimes.engine_worker import build_engine, find_key, run_engine

ENGINES = "engines"
ENGINE_SPEC = "engine.json"
SUFFIXES = {"tensorrt": ".engine", "tensorrt_rtx": ".rtx.engine"}
DEFAULTS = {"opt_batch": 8, "workspace_mib": 1024}  # for a bundle without engine.json


def cached_engine(bundle: BundleFolder, model: Model, *, flavour: str) -> tuple[Path, dict[str, Any], bool]:
    """The engine's path, its facts, and whether it was built just now.

    The key covers the ONNX file, the TensorRT version, GPU, driver, profiles and options: a stored engine of another key, or one whose
    bytes changed, is built again. Raises DeviceError where no engine can be built, with the reason.
    """
    manifest = read_manifest(bundle.folder)
    check_files(bundle.folder, manifest, names=[model.file, IO_SPEC])
    onnx_path, io_spec = bundle.folder / model.file, json.loads((bundle.folder / IO_SPEC).read_text(encoding="utf-8"))
    options = _options(bundle, manifest)
    key = find_key(onnx_path, flavour=flavour, io_spec=io_spec, **options)
    engine = bundle.folder / ENGINES / f"{model.name}{SUFFIXES[flavour]}"
    facts_path = engine.with_name(engine.name + ".json")
    facts = _stored_facts(facts_path)
    if facts.get("key") == key and engine.is_file() and hash_file(engine) == facts.get("engine_sha256"):
        return engine, facts, False
    try:
        engine.parent.mkdir(exist_ok=True)
        facts_path.unlink(missing_ok=True)  # a build that is cut off must not leave facts of another engine
        cache = engine.parent / "timing.cache"
        facts = build_engine(onnx_path, engine, flavour=flavour, io_spec=io_spec, timing_cache=cache, **options)
    except OSError as error:
        raise _unwritable(engine, error) from error
    _write_facts(engine, facts)
    return engine, facts, True


def runnable_engine(bundle: BundleFolder, model: Model, *, flavour: str) -> Path:
    """The cached engine, once it has answered zeros in a process of its own: a crash of the vendor's library ends as an error there."""
    engine, facts, _ = cached_engine(bundle, model, flavour=flavour)
    if not facts.get("ran"):
        feeds = {name: np.zeros((1, *port["shape"]), port["dtype"]) for name, port in bundle.inputs.items()}
        run_engine(engine, feeds, flavour=flavour)
        _write_facts(engine, {**facts, "ran": True})
    return engine


def _write_facts(engine: Path, facts: dict[str, Any]) -> None:
    try:
        engine.with_name(engine.name + ".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(engine, error) from error


def _unwritable(engine: Path, error: OSError) -> DeviceError:
    return DeviceError(f"{engine}: cannot be written ({error.strerror}); copy the bundle to a folder that can")


def _options(bundle: BundleFolder, manifest: dict[str, Any]) -> dict[str, int]:
    if ENGINE_SPEC not in manifest["files"]:
        return dict(DEFAULTS)
    check_files(bundle.folder, manifest, names=[ENGINE_SPEC])
    described = json.loads((bundle.folder / ENGINE_SPEC).read_text(encoding="utf-8"))
    return {name: described.get(name, value) for name, value in DEFAULTS.items()}


def _stored_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or cut off: the engine counts as not built
        return {}
    return facts if isinstance(facts, dict) else {}
