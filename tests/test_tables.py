"""The tables: each entry exists as it is listed; plugins add to them."""

import inspect
from pathlib import Path

import pytest

from compress import tables
from compress.errors import RecipeError
from compress.recipe.declarations import declaration, first_line, literal_table

ENTRIES = [(table, name) for table, entries in tables.TABLES.items() for name in entries]


@pytest.fixture
def own_losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy of LOSSES that a test may change."""
    losses = dict(tables.LOSSES)
    monkeypatch.setitem(tables.TABLES, "LOSSES", losses)
    return losses


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_an_entry_is_declared_as_it_is_when_imported(table, name):
    entry = tables.TABLES[table][name]
    real, read = inspect.signature(tables.resolve(entry)), inspect.signature(declaration(entry))
    options = {p.name: p.default for p in real.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {p.name: p.default for p in read.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY} == options
    assert first_line(entry)


def test_the_names_of_stages_are_those_that_the_pipeline_runs():
    assert list(literal_table("compress.tables", "STAGES")) == list(tables.STAGES)


def test_a_plugin_adds_to_its_table(tmp_path: Path, own_losses):
    plugin = tmp_path / "mine.py"
    plugin.write_text("def double(x):\n    return 2 * x\n\nLOSSES = {'double': double}\n")
    tables.load_plugins([plugin])
    tables.load_plugins([plugin])
    assert tables.resolve(own_losses["double"])(4) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "adds to no table"),
        ("LOSSES = dict(a=1)\n", "must be a literal dict"),
        ("LOSSES = {'a': print}\n", "must be the name of a function or class that this file defines"),
        ("def f(): ...\nLOSSES = {1: f}\n", "each key must be a text in quotes"),
        ("def f(): ...\nLOSSES = {'kd': f}\n", "'kd' is in LOSSES already"),
        ("import no_such_module\ndef f(): ...\nLOSSES = {'mine': f}\n", "fails when it is loaded: ModuleNotFoundError"),
    ],
)
def test_a_faulty_plugin_is_refused_with_its_file(tmp_path: Path, own_losses, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        tables.load_plugins([tmp_path / "mine.py"])
    assert str(tmp_path / "mine.py") in str(caught.value)
