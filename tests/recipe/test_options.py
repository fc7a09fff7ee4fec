"""Options are checked against the function that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from compress.recipe.options import check_options, option_parameters

if TYPE_CHECKING:
    from nowhere import Absent


def blur(
    image: Absent, *, base: Path, size: int, sigma: float = 1.0, mode: Literal["edge", "zero"] = "edge", names: list[str] | None = None
) -> Absent:
    raise AssertionError("checking never calls")


def check(**options: object) -> list[str]:
    return check_options(blur, options, "data.options", injected={"base"})


@pytest.mark.parametrize(
    "options", [{"size": 3}, {"size": 3, "sigma": 2}, {"size": 0, "mode": "zero", "names": None}, {"size": 1, "names": ["a"]}]
)
def test_options_that_fit_have_no_problem(options: dict) -> None:
    assert check(**options) == []


def test_unknown_option_names_the_nearest_and_all() -> None:
    assert check(size=3, sigme=1.0) == ["data.options.sigme: unknown option (did you mean 'sigma'?); blur takes size, sigma, mode, names"]


def test_missing_option_is_named() -> None:
    assert check() == ["data.options.size: missing; blur needs it"]


def test_injected_parameter_is_no_option() -> None:
    assert check(size=1, base="/tmp")[0].startswith("data.options.base: unknown option")
    assert "base" not in option_parameters(blur, injected={"base"})


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"size": True}, "int"),
        ({"size": 2.0}, "int"),
        ({"size": 1, "sigma": "2"}, "float"),
        ({"size": 1, "sigma": False}, "float"),
        ({"size": 1, "mode": "wrap"}, "one of 'edge', 'zero'"),
        ({"size": 1, "names": [1]}, "list[str] or null"),
        ({"size": 1, "names": "a"}, "list[str] or null"),
    ],
)
def test_wrong_type_says_what_is_needed(options: dict, needed: str) -> None:
    (problem,) = check(**options)
    assert problem.endswith(f"but {needed} is needed")


def test_all_problems_come_at_once() -> None:
    assert len(check(sigma="x", mode=1, colour="red")) == 4


def test_options_of_a_class_are_those_of_its_init() -> None:
    class Layer:
        def __init__(self, width: int, *, depth: tuple[int, int] = (1, 1), extra: dict[str, int] | None = None) -> None: ...

    assert check_options(Layer, {"depth": [1, 2], "extra": {"a": 1}}, "x") == []
    assert len(check_options(Layer, {"depth": [1], "extra": {"a": "b"}, "width": 1}, "x")) == 3
