"""Which recipes may ask for the shares of their inputs: every entry of FUSIONS, one input, towers, and a plugin's fusion."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.models.fusion import Fusion
from compress.recipe.grammar import load_recipe
from compress.recipe.shares import fewest_of
from compress.tables import FUSIONS, resolve

INPUTS = {"image": "{size: 64}", "text": "{length: 8}", "numbers": "{size: 3}"}
TEACHERS = {"image": "efficientnet_lite2", "text": "minilm_l6", "numbers": "raw"}
ABLE = "weighted, gated, attention, bottleneck"

PLUGIN = """
from compress.models.fusion import Fusion


class Mine(Fusion):
    weighs = "gates"


def mine(count, channels) -> Mine:
    \"\"\"Of our own.\"\"\"
    return Mine(count, channels)


FUSIONS = {"mine": mine}
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(fusion: str, *, count: int = 2, more: str = "", task: str = "single_label"):
        names = list(INPUTS)[:count]
        inputs, teachers, students = (
            ", ".join(f"{name}: {some[name]}" for name in names)
            for some in (INPUTS, {m: f"{{model: {model}}}" for m, model in TEACHERS.items()}, dict.fromkeys(INPUTS, "{}"))
        )
        lines = [
            "name: small",
            f"data: {{source: manifest, task: {task}, inputs: {{{inputs}}}, options: {{train: a.csv, test: a.csv}}}}",
            f"teacher: {{source: fit, encoders: {{{teachers}}}}}",
            f"student: {{encoders: {{{students}}}{f', fusion: {fusion}' if fusion else ''}}}",
            "export: {shares: true}",
            more,
        ]
        (tmp_path / "a.csv").touch()
        (tmp_path / "mine.py").write_text(PLUGIN)
        (tmp_path / "a.yaml").write_text("\n".join(lines))
        return load_recipe(tmp_path / "a.yaml").recipe

    return load


@pytest.mark.parametrize("name", FUSIONS)
def test_what_is_read_of_a_fusion_is_what_it_is(name: str) -> None:
    make = resolve(FUSIONS[name])
    lengths = {"lengths": (2, 2, 2)} if "lengths" in inspect.signature(make).parameters else {}
    made: Fusion = make(3, 8, **lengths)
    assert fewest_of(FUSIONS[name]) == (made.fewest if made.weighs else 0)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", FUSIONS)
def test_shares_need_a_fusion_that_has_some(name: str, count: int, load) -> None:
    if 0 < fewest_of(FUSIONS[name]) <= count:
        assert load(name, count=count).export.shares
        return
    with pytest.raises(RecipeError) as caught:
        load(name, count=count)
    (line,) = str(caught.value).splitlines()
    assert f"a.yaml:5 export.shares: student.fusion {name} " in line
    if fewest_of(FUSIONS[name]):
        assert line.endswith("over 2 inputs lets in the same of each whatever the row; it tells from 3 on")
    else:
        able = ABLE if count == 2 else ABLE.replace("attention, ", "attention, cross_attention, ")
        assert line.endswith(f"{name} has no weights, gates or attention to tell; take {able}, or leave it out")


def test_one_input_has_no_share(load) -> None:
    with pytest.raises(RecipeError, match=r"export.shares: image is the only input, so it has no share of anything; leave it out"):
        load("", count=1)


def test_towers_have_no_shares(load) -> None:
    with pytest.raises(RecipeError, match=r"export.shares: the towers of retrieval are not joined"):
        load("", task="retrieval")


def test_a_plugins_fusion_says_so_by_what_it_returns(load) -> None:
    assert load("mine", more="plugins: [mine.py]").export.shares
