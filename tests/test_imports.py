"""Heavy imports stay behind the door: help, grammar checks and the device runner start without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "accelerate", "onnx", "onnxruntime", "tensorrt_rtx", "datasets", "pyarrow", "matplotlib", "scipy")
DEVICE = (
    "torch",
    "transformers",
    "accelerate",
    "onnx",
    "tensorrt_rtx",
    "pyarrow",
    "scipy",
    "pydantic",
    "yaml",
    "typer",
)  # it has numpy and a runtime


def loaded(code: str, wanted: tuple[str, ...]) -> set[str]:
    """Which of the wanted top-level modules a fresh interpreter holds after `code`, even if that ends by SystemExit."""
    program = f"""
import sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *(name for name in {wanted} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


def command(*arguments: str) -> str:
    return f"sys.argv = {['compress', *arguments]}; from compress.cli import main; main()"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["check", "recipes/smoke.yaml"],
        ["list", "losses"],
        ["list", "stages"],
        ["list", "image_encoders"],
        ["schema"],
        ["schema", "measurements"],
    ],
    ids=" ".join,
)
def test_command_starts_without_heavy_libraries(arguments: list[str]) -> None:
    assert loaded(command(*arguments), HEAVY) == set()


def test_plan_starts_without_torch(tmp_path: Path) -> None:
    arguments = ["plan", "recipes/smoke.yaml", "--runs", str(tmp_path)]
    assert loaded(command(*arguments), ("torch", "transformers", "accelerate", "matplotlib")) == set()


def test_benchmark_measures_memory_without_libraries_that_it_does_not_need() -> None:
    assert loaded("import compress.stages.benchmark.__main__", ("torch", "transformers", "scipy", "matplotlib")) == set()


@pytest.mark.parametrize("module", ["main", "sessions", "bundle", "predictor", "measure", "choose", "golden", "engines", "archive"])
def test_device_package_loads_nothing_of_training(module: str) -> None:
    assert loaded(f"import compress.device.{module}", DEVICE) == set()
    assert loaded(f"import compress.device.{module}", ("compress.errors", "compress.recipe.sections")) == set()


def test_tables_resolve_no_module_when_imported() -> None:
    assert (
        loaded("import compress.tables, compress.recipe.sections, compress.recipe.grammar, compress.store.store, compress.pipeline", HEAVY)
        == set()
    )
