"""Small sets as users bring them, through `init` and the whole chain, with trainings cut to a few steps: each ends in a bundle.

The sets are drawn by a program that lies beside the checkout, where it does; benchmarks/odd_sets.py runs them in full.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compress.pipeline import run
from compress.recipe.grammar import load_recipe

ROOT = Path(__file__).parents[1]
GENERATOR = ROOT.parent / "shared" / "tools" / "odd_set.py"
SHORT = [
    "teacher.train={epochs: 2, max_steps: 20}",
    "distill.train={epochs: 1, min_steps: 10, max_steps: 10}",
    "distill.objective=losses",
    "quantize.train={epochs: 1, min_steps: 4, max_steps: 4}",
    "benchmark={batches: [1], rounds: 10, warmup: 1}",
]


@pytest.mark.skipif(not GENERATOR.is_file(), reason="the program that draws odd sets is not beside this checkout")
@pytest.mark.parametrize("seed", [30, 7])  # 97 pictures, 692 texts of one word
def test_small_odd_set_ends_in_a_bundle(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, str(GENERATOR), str(seed), str(tmp_path)], check=True, capture_output=True)
    files = [
        part for name in ("train", "test", "validation") if (tmp_path / f"{name}.csv").is_file() for part in (f"--{name}", f"{name}.csv")
    ]
    subprocess.run([sys.executable, "-m", "compress", "init", "my.yaml", *files], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)  # users name their files from where they are, and processes of a run start elsewhere
    result = run(load_recipe(Path("my.yaml"), SHORT), runs=Path("runs"), threads=2, say=lambda _: None)
    assert (result.bundle / "run.py").is_file() and result.parity_misses == []
