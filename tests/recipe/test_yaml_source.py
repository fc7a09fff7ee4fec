"""YAML with lines: what counts as a number, and what is refused."""

import pytest

from compress.recipe.yaml_source import dotted, read_yaml


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("3.0E5", 3e5),
        (".5", 0.5),
        ("-7", -7),
        ("007", "007"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_has_it(written, value):
    data = read_yaml(f"key: {written}").data["key"]
    assert (data, type(data)) == (value, type(value))


def test_every_place_knows_its_line():
    source = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n    d:\n      e: 3\n")
    assert {dotted(place): line for place, line in source.lines.items()} == {
        "": 1,
        "a": 1,
        "b": 2,
        "b[0]": 3,
        "b[1]": 4,
        "b[1].c": 4,
        "b[1].d": 5,
        "b[1].d.e": 6,
    }


def test_an_alias_stands_for_its_anchor():
    assert read_yaml("a: &x {k: 1}\nb: *x\n").data == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "given twice, first in line 1", 3),
        ("a: 1\nb: !mine 2\n", "the YAML tag '!mine' is not allowed", 2),
        ("a: !!int x\n", "is not what its tag '!!int' says", 1),
        ("a: !!binary eA==\n", "the YAML tag '!!binary' is not allowed", 1),
        ("1: a\n", "'1' is no key", 1),
        ("[a]: b\n", "a list or section is no key", 1),
        ("a: 1\n---\nb: 2\n", "one YAML document", 2),
        ("a: 1\n\tb: 2\n", "indented with spaces", 2),
        ("a: *nowhere\n", "not YAML", 1),
        ("a: &x [*x]\n", "an alias that contains itself", 1),
        ("a: \x01\n", "not YAML", None),
        ("[" * 5000, "nested too deeply", None),
    ],
)
def test_a_fault_is_named_with_its_line(text, message, line):
    (fault,) = read_yaml(text).faults
    assert message in fault.message
    assert fault.line == line


def test_aliases_that_multiply_are_refused():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"] + [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "more than 20000 entries" in read_yaml("\n".join(lines)).faults[0].message
