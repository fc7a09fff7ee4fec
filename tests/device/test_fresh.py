"""A file in a process of its own: what is imported there is what a device needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.device.golden import read_golden

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {"compress", "numpy", "onnxruntime"}


def start(model: Path, feeds: Path, runtime: str = "onnxruntime_cpu") -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "compress.device.fresh", str(model), str(feeds), runtime, "1"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def feeds(bundle: Path, tmp_path: Path) -> Path:
    np.savez(
        tmp_path / "feeds.npz",
        **{name: array[:1] for name, array in read_golden(bundle / "golden.npz").items() if name in ("image", "text")},
    )
    return tmp_path / "feeds.npz"


def test_a_fresh_process_imports_numpy_and_one_runtime(bundle: Path, feeds: Path) -> None:
    found = json.loads(start(bundle / "model.onnx", feeds).stdout)
    installed = {path.name.split(".")[0] for path in Path(np.__file__).parents[1].iterdir()}
    assert {name for name in found["modules"] if name in installed and not name.startswith("_")} - NEEDED == set()
    assert {*found["modules"]} >= NEEDED
    assert 1e7 < found["peak_bytes"] < 3e8


def test_a_file_that_does_not_run_ends_with_its_error(tmp_path: Path, feeds: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    done = start(tmp_path / "model.onnx", feeds)
    assert done.returncode == 1 and "cannot open the model" in done.stderr.splitlines()[-1]
