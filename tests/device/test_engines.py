"""The engine cache of a device: found under its key, built again on mismatch. The builder itself stands behind the vendor's boundary."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from compress.device import engines
from compress.device.contents import BundleFolder, find_model, read_bundle
from compress.device.engines import cached_engine, runnable_engine
from compress.device.errors import ManifestError
from compress.device.manifest import verify_folder
from compress.device.runtimes.vendor import TensorRTError, TensorRTUnavailable


class Builder:
    """Stands for the vendor's builder: its key is its version and the ONNX file's hash."""

    def __init__(self) -> None:
        self.version, self.builds = "10.3", []

    def find_key(self, onnx_path: Path, **options: Any) -> str:
        return self.version + hashlib.sha256(onnx_path.read_bytes()).hexdigest()

    def build_engine(self, onnx_path: Path, engine_path: Path, **options: Any) -> dict[str, Any]:
        self.builds.append(options)
        engine_path.write_bytes(b"engine")
        return {"key": self.find_key(onnx_path), "engine_sha256": hashlib.sha256(b"engine").hexdigest()}


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    monkeypatch.setattr(engines, "find_key", builder.find_key)
    monkeypatch.setattr(engines, "build_engine", builder.build_engine)
    return builder


@pytest.fixture
def opened(bundle: Path) -> BundleFolder:
    return read_bundle(bundle)


def build(opened: BundleFolder) -> bool:
    return cached_engine(opened, find_model(opened, None), flavour="tensorrt")[2]


def test_engine_is_built_once(opened: BundleFolder, builder: Builder) -> None:
    assert [build(opened), build(opened)] == [True, False]
    assert len(builder.builds) == 1


def test_engine_takes_the_options_of_engine_json(opened: BundleFolder, builder: Builder) -> None:
    build(opened)
    assert (builder.builds[0]["opt_batch"], builder.builds[0]["workspace_mib"]) == (4, 64)
    assert builder.builds[0]["io_spec"]["max_batch"] == 32


def test_engine_of_another_version_is_built_again(opened: BundleFolder, builder: Builder) -> None:
    build(opened)
    builder.version = "11.0"
    assert build(opened)


def test_engine_whose_bytes_changed_is_built_again(opened: BundleFolder, builder: Builder) -> None:
    build(opened)
    (opened.folder / "engines" / "fp32.engine").write_bytes(b"enginE")
    assert build(opened)


def test_engine_with_broken_facts_is_built_again(opened: BundleFolder, builder: Builder) -> None:
    build(opened)
    (opened.folder / "engines" / "fp32.engine.json").write_text('{"key":')
    assert build(opened)


def test_engines_leave_the_bundle_verified(opened: BundleFolder, builder: Builder) -> None:
    build(opened)
    verify_folder(opened.folder)


def test_engine_of_a_changed_model_is_refused(opened: BundleFolder, builder: Builder) -> None:
    with open(opened.folder / "model.onnx", "r+b") as file:
        file.write(b"\1")
    with pytest.raises(ManifestError, match=r"model\.onnx: sha256"):
        build(opened)


def test_engine_is_refused_where_the_package_is_missing(opened: BundleFolder) -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("tensorrt is installed here")
    with pytest.raises(TensorRTUnavailable, match="tensorrt cannot be imported"):
        build(opened)


def test_engine_is_opened_only_after_it_ran_in_a_process_of_its_own(
    opened: BundleFolder, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, runs = find_model(opened, None), []
    monkeypatch.setattr(engines, "run_engine", lambda engine, feeds, flavour: runs.append({name: a.shape for name, a in feeds.items()}))
    paths = [runnable_engine(opened, model, flavour="tensorrt") for _ in range(2)]
    assert paths[0].read_bytes() == b"engine"
    assert runs == [{"image": (1, 8, 8, 3), "text": (1, 6)}]  # once for each build
    builder.version = "11.0"
    runnable_engine(opened, model, flavour="tensorrt")
    assert len(runs) == 2


def test_engine_that_crashes_is_tried_again_and_never_opened(
    opened: BundleFolder, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(engine: Path, feeds: dict[str, Any], *, flavour: str) -> None:
        raise TensorRTError(f"{engine.name}: running the {flavour} engine crashed with SIGSEGV.")

    monkeypatch.setattr(engines, "run_engine", crash)
    for _ in range(2):
        with pytest.raises(TensorRTError, match=r"fp32\.engine: running the tensorrt engine crashed with SIGSEGV"):
            runnable_engine(opened, find_model(opened, None), flavour="tensorrt")
    assert len(builder.builds) == 1


def test_engine_is_built_by_tensorrt_rtx_without_gpu(opened: BundleFolder) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    engine, facts, built = cached_engine(opened, find_model(opened, None), flavour="tensorrt_rtx")
    assert built
    assert engine.name == "fp32.rtx.engine"
    assert engine.stat().st_size == facts["engine_bytes"]
    assert json.loads(engine.with_name("fp32.rtx.engine.json").read_text())["key"] == facts["key"]
    assert cached_engine(opened, find_model(opened, None), flavour="tensorrt_rtx")[2] is False
