"""run.py of a written bundle, as a process: in this environment, and in one that holds its few dependencies only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

NEEDED = ["numpy", "onnxruntime", "tokenizers", "PIL"]
QUESTION = ["--question", "what colour is the square ?"]


def run(python: Path | str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (python, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env={}, check=False)


def test_run_answers_in_a_clean_environment(clean_python: Path, bundle: Path, picture: Path, record_property) -> None:
    assert run(clean_python, "-c", "import torch").returncode != 0
    start = time.perf_counter()
    done = run(clean_python, "-I", bundle / "run.py", "predict", "--image", picture, *QUESTION, "--json")
    record_property("seconds_to_first_answer", round(time.perf_counter() - start, 3))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["label"] in ["no", "yes", "red", "blue"]


def test_run_verifies_and_measures_in_a_clean_environment(clean_python: Path, bundle: Path) -> None:
    assert run(clean_python, bundle / "run.py", "verify").returncode == 0
    assert run(clean_python, bundle / "run.py", "bench", "--rounds", "2", "--batches", "1").returncode == 0
    assert run(clean_python, bundle / "run.py", "build-engine").returncode == 8
    done = run(clean_python, bundle / "run.py", "verify")  # none of them left an unlisted file, a bytecode cache for one
    assert (done.returncode, done.stderr) == (0, "")


def test_run_imports_neither_torch_nor_compress(bundle: Path, picture: Path) -> None:
    done = run(sys.executable, "-X", "importtime", "-I", bundle / "run.py", "predict", "--image", picture, *QUESTION)
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"device", *NEEDED} <= imported
    assert not imported & {"torch", "compress", "transformers", "onnx", "scipy", "tensorrt", "tensorrt_rtx"}


def test_run_verifies_hashes_before_it_imports_any_package(bundle: Path) -> None:
    (bundle / "numpy.py").write_text("raise SystemExit('ran a planted file')")
    done = run(sys.executable, bundle / "run.py", "verify")
    assert done.returncode == 9
    assert "numpy.py: not listed in manifest.json" in done.stderr


def test_run_answers_from_a_copied_folder(clean_python: Path, bundle: Path, picture: Path, tmp_path: Path) -> None:
    shutil.move(bundle, tmp_path / "with space")
    done = run(clean_python, tmp_path / "with space" / "run.py", "predict", "--image", picture, *QUESTION)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_fails_without_a_traceback(clean_python: Path, bundle: Path, tmp_path: Path) -> None:
    done = run(clean_python, bundle / "run.py", "predict", "--image", tmp_path / "none.png", *QUESTION)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
