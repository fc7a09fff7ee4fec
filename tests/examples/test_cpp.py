"""The C++ example of a bundle: compiled as its README says, against the library in the wheel of onnxruntime, it finds the golden answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.device.golden import read_golden
from compress.device.manifest import verify_folder
from compress.examples import FOLDER, example_files
from compress.stages.bundle import write_bundle

NEEDED = [program for program in ("cmake", "c++") if not shutil.which(program)]
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=f"no {' and no '.join(NEEDED)}: nothing can be compiled")


@pytest.fixture
def shipped(tmp_path: Path, bundle_arguments: Callable[..., dict[str, Any]]) -> Path:
    """A bundle with the example; its model reads images, texts, and which of them are there."""
    write_bundle(tmp_path / "bundle", **bundle_arguments(("image", "text", "present")), examples=["cpp"])
    return tmp_path / "bundle"


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-e", "-c", command], cwd=folder, env=surroundings, capture_output=True, text=True, check=False)


def test_example_is_built_as_the_readme_says_and_finds_what_differs(shipped: Path, tmp_path: Path) -> None:
    built = run(shipped, "\n".join(re.findall(r"^    ((?:library=|cmake).*)$", (shipped / "README.md").read_text(), re.M)))
    assert built.returncode == 0, built.stdout + built.stderr
    assert re.findall(r"ok    (\S+): 20 samples", built.stdout) == ["model.onnx", "models/int8_qat.onnx"]
    verify_folder(shipped)  # which the building left as it was

    program, golden = str(tmp_path / "golden" / "golden"), shipped / "examples" / "cpp" / "golden"
    (golden / "logits.bin").write_bytes(read_golden(shipped / "golden.npz")["logits"][::-1].tobytes())
    asked = run(shipped, f"{program} .")
    assert asked.returncode == 7 and re.findall(r"^\w+", asked.stdout, re.M) == ["WRONG", "ok"]
    (golden / "text.bin").write_bytes((golden / "text.bin").read_bytes()[:-1])
    asked = run(tmp_path, f"{program} bundle")
    assert asked.returncode == 1 and asked.stderr.startswith("error: ")
    asked = run(tmp_path, f"{program} nowhere")
    assert asked.returncode == 1 and "index.txt: cannot be read" in asked.stderr


def test_golden_samples_are_those_of_the_bundle(shipped: Path) -> None:
    arrays, folder = read_golden(shipped / "golden.npz"), shipped / "examples" / "cpp" / "golden"
    told = [line.split() for line in (folder / "index.txt").read_text().splitlines()]
    for _, name, dtype, *shape in (words for words in told if words[0] == "array"):
        found = np.fromfile(folder / f"{name}.bin", np.dtype(dtype).newbyteorder("<")).reshape([int(size) for size in shape])
        np.testing.assert_array_equal(found, arrays.pop(name))
    assert list(arrays) == ["labels"]
    assert [words[1:3] for words in told if words[0] == "model"] == [["model.onnx", "logits"], ["models/int8_qat.onnx", "logits.int8_qat"]]


def test_every_source_is_in_the_manifest(shipped: Path) -> None:
    listed = verify_folder(shipped)["files"]
    names = {path.name for path in FOLDER.glob("cpp/*")}
    assert {"onnxruntime_c_api.h", "LICENSE.onnxruntime", "golden.cpp", "CMakeLists.txt"} <= names
    assert {f"examples/cpp/{name}" for name in names} <= set(listed) and len(example_files("cpp")) == len(names)
