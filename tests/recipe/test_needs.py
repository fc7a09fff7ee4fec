"""What losses need, read from signatures, and losses that cannot have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.needs import hidden_state, hidden_states, reads_teacher
from compress.recipe.sections import Loss
from compress.tables import LOSSES

RECIPE = """\
name: small
data: {{source: easy_vqa, inputs: {{image: {{size: 64}}}}}}
teacher: {{source: fit, encoders: {{image: {{model: efficientnet_lite2}}}}}}
student: {{encoders: {{image: {{model: mobilenet_v4}}}}, classifier: {classifier}}}
plugins: {plugins}
distill:
  losses: [{losses}]
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(losses: str, *, classifier: str = "own", plugins: str = "[]"):
        (tmp_path / "a.yaml").write_text(RECIPE.format(losses=losses, classifier=classifier, plugins=plugins))
        return load_recipe(tmp_path / "a.yaml").recipe

    return load


def test_state_is_the_value_of_the_option_tap() -> None:
    assert hidden_state(LOSSES["hint"], {}) == "embedding"
    assert hidden_state(LOSSES["hint"], {"tap": "mid"}) == "mid"
    assert hidden_state(LOSSES["kd"], {}) is None


def test_states_of_a_list_are_told_once() -> None:
    assert hidden_states([Loss(name="hint"), Loss(name="pkt"), Loss(name="kd")]) == ["embedding"]
    assert hidden_states([Loss(name="kd")]) == []


def test_recipe_stores_states_only_where_a_loss_compares_them(load) -> None:
    assert load("{name: kd}").distill.hidden == []
    assert load("{name: kd}, {name: rkd_angle}").distill.hidden == ["embedding"]


def test_loss_whose_teacher_may_be_none_needs_none() -> None:
    assert [name for name in LOSSES if not reads_teacher(LOSSES[name])] == ["cross_entropy", "weighted_cross_entropy", "focal"]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ("{name: simkd}", r"a.yaml:7 distill.losses\[0\].name: simkd leads to .*set student.classifier to teacher"),
        ("{name: hint, options: {tap: mid}}", r"a.yaml:7 distill.losses\[0\].options.tap: no hidden state 'mid'; there is embedding"),
        ("{name: hint, options: {project: 1}}", "options.project: unknown option"),
        ("{name: focal, options: {counts: [1]}}", "options.counts: unknown option"),
    ],
)
def test_loss_that_cannot_have_what_it_needs_is_a_fault(load, losses: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load(losses)


def test_simkd_fits_a_student_that_ends_in_the_teachers_layer(load) -> None:
    assert load("{name: simkd}", classifier="teacher").distill.hidden == ["embedding"]


def test_losses_of_a_plugin_say_what_they_need_in_the_same_way(load, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def near(student, teacher, labels, *, tap: str = 'nowhere'):\n    ...\n\n\nLOSSES = {'near': near}\n"
    )
    with pytest.raises(RecipeError, match="no hidden state 'nowhere'"):
        load("{name: near}", plugins="[mine.py]")
