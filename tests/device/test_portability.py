"""The folder that ships: Python 3.9, and no import but its own, the standard library, numpy and a few lazy ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import compress.device

FILES = sorted(Path(compress.device.__file__).parent.glob("*.py"))
TOP_LEVEL = {"numpy"}
LAZY = {"numpy", "onnxruntime", "openvino", "ai_edge_litert", "tokenizers", "PIL", "soundfile", "soxr", "cryptography"}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def imports(nodes: list[ast.AST]) -> set[str]:
    """Names of the packages that these nodes import; relative ones are given as a dot."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level == 1 else "." * 9 if node.level else (node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"."}


@each_file
def test_file_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]
    keywords = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert not keywords & {"slots", "kw_only", "strict"}  # of dataclass and zip, from 3.10 on


@each_file
def test_file_postpones_its_annotations(path: Path) -> None:
    tree = ast.parse(path.read_text())
    annotated = any(isinstance(node, (ast.AnnAssign, ast.FunctionDef)) for node in ast.walk(tree))
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert future or not annotated


@each_file
def test_file_imports_only_what_ships(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert imports(list(tree.body)) <= TOP_LEVEL
    assert imports(list(ast.walk(tree))) <= LAZY


def test_linter_finds_no_newer_syntax() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--target-version", "py39", "--select", "E9,F", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named ruff" in done.stderr:
        pytest.skip("ruff is not installed")
    assert done.returncode == 0, done.stdout
