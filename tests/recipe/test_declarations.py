"""Signatures read from source agree with what Python itself would say."""

import inspect
from pathlib import Path
from typing import Any, Literal

import pytest

from compress.recipe.declarations import declaration, first_line, literal, literal_table

SOURCE = '''
import no_such_module

def f(student, *, a: int, b: float = 2.0, c: str | None = None, d: Literal["x", "y"] = "x", e: tuple[int, ...] = (1,),
      f: "no_such_module.T" = no_such_module.T(), g: dict[str, float] | None = None):
    """First line.

    More.
    """

TABLE: dict = {"f": f, "g": G(1, size=4)}

class G:
    def __init__(self, io, *, size: int = 3):
        pass

class H:
    pass
'''


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "p.py").write_text(SOURCE)
    return str(tmp_path / "p.py")


def test_types_and_defaults_are_read_without_import(plugin):
    read = declaration(f"{plugin}:f")
    assert inspect.get_annotations(read) == {
        "a": int,
        "b": float,
        "c": str | None,
        "d": Literal["x", "y"],
        "e": tuple[int, ...],
        "f": Any,
        "g": dict[str, float] | None,
    }
    parameters = inspect.signature(read).parameters
    assert parameters["a"].default is inspect.Parameter.empty
    assert (parameters["b"].default, parameters["e"].default, parameters["f"].default) == (2.0, (1,), ...)
    assert first_line(f"{plugin}:f") == "First line."


def test_a_class_stands_for_its_constructor(plugin):
    assert list(inspect.signature(declaration(f"{plugin}:G")).parameters) == ["io", "size"]
    assert list(inspect.signature(declaration(f"{plugin}:H")).parameters) == []


def test_a_table_of_functions_is_read_with_a_gloss_for_each(plugin):
    assert literal_table(plugin, "TABLE") == {"f": "First line.", "g": "size=4"}
    with pytest.raises(LookupError, match="no dict literal NONE"):
        literal_table(plugin, "NONE")


def test_a_missing_function_is_an_error_that_names_the_file(plugin):
    with pytest.raises(LookupError, match="defines no function or class 'nothing'"):
        declaration(f"{plugin}:nothing")
    with pytest.raises(LookupError, match=r"compress/no/module\.py: no such file"):
        declaration("compress.no.module:f")


def test_literal_is_read_alone_or_as_one_of_several(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("A, B = 'x', ('y',)\nC: int = 3\nD = len('x')\n")
    assert [literal(tmp_path / "a.py", name) for name in "ABC"] == ["x", ("y",), 3]
    with pytest.raises(LookupError, match="gives E no literal"):
        literal(tmp_path / "a.py", "E")
