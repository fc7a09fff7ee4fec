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
distill: {{losses: [{losses}], taps: {taps}{more}}}
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(losses: str, *, classifier: str = "own", plugins: str = "[]", taps: str = "{}", more: str = ""):
        told = {"losses": losses, "classifier": classifier, "plugins": plugins, "taps": taps, "more": more and f", {more}"}
        (tmp_path / "a.yaml").write_text(RECIPE.format(**told))
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
    of_one = {"cross_entropy", "weighted_cross_entropy", "focal", "token_cross_entropy", "label_contrast", "tower_contrast"}
    of_several = {"binary_cross_entropy", "squared_error", "absolute_error", "pixel_cross_entropy", "pixel_dice"}
    assert {name for name in LOSSES if not reads_teacher(LOSSES[name])} == of_one | of_several


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ("{name: simkd}", r"a.yaml:6 distill.losses\[0\].name: simkd leads to .*set student.classifier to teacher"),
        (
            "{name: hint, options: {tap: mid}}",
            r"a.yaml:6 distill.losses\[0\].options.tap: no hidden state 'mid'; there is embedding, and distill.taps",
        ),
        ("{name: affinity, options: {other: text}}", r"losses\[0\].options.other: no hidden state 'text'; there is embedding"),
        ("{name: hint, options: {project: 1}}", "options.project: unknown option"),
        ("{name: focal, options: {counts: [1]}}", "options.counts: unknown option"),
    ],
)
def test_loss_that_cannot_have_what_it_needs_is_a_fault(load, losses: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load(losses)


@pytest.mark.parametrize("word", ["compare_alone: true", "rounds: 2"])
def test_words_of_a_teacher_are_a_fault_where_no_loss_reads_one(load, word: str) -> None:
    with pytest.raises(RecipeError, match=rf"distill.{word.split(':')[0]}: no term of distill.losses reads a teacher"):
        load("{name: focal}", more=word)
    assert load("{name: kd}", more=word).distill.asks_teacher
    assert load("{name: focal}", more=f"{word}, objective: auto").distill.asks_teacher and not load("{name: focal}").distill.asks_teacher


TAPS = "{mid: {student: encoders.image.body, teacher: encoders.image.layer2, reads: attention}, other: {student: a, teacher: b}}"


def test_taps_are_heard_only_where_a_loss_compares_them(load) -> None:
    distill = load("{name: cosine, options: {tap: mid}}, {name: hint}", taps=TAPS).distill
    assert distill.hidden == ["embedding", "mid"]
    assert distill.student_taps == {"mid": ("encoders.image.body", "attention")}
    assert distill.teacher_taps == {"mid": ("encoders.image.layer2", "attention")}
    assert load("{name: kd}", taps=TAPS).distill.teacher_taps == {}
    assert load("{name: affinity, options: {tap: mid, other: other}}", taps=TAPS).distill.hidden == ["mid", "other"]


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        ("{mid: {student: a}}", r"distill.taps.mid.teacher: this key is required: Dotted path of the teacher's"),
        ("{mid: {student: a, teacher: b, read: attention}}", r"unknown key 'read' \(did you mean 'reads'\?\)"),
        ("{embedding: {student: a, teacher: b}}", "distill.taps.embedding: every model has embedding already"),
        ("{Mid: {student: a, teacher: b}}", "distill.taps.Mid"),
        ("{mid: {student: a, teacher: b, reads: map}}", "must be one of vector, attention"),
    ],
)
def test_tap_that_is_not_well_declared_is_a_fault(load, taps: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load("{name: kd}", taps=taps)


def test_simkd_fits_a_student_that_ends_in_the_teachers_layer(load) -> None:
    assert load("{name: simkd}", classifier="teacher").distill.hidden == ["embedding"]


def test_losses_of_a_plugin_say_what_they_need_in_the_same_way(load, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def near(student, teacher, labels, *, tap: str = 'nowhere'):\n    ...\n\n\nLOSSES = {'near': near}\n"
    )
    with pytest.raises(RecipeError, match="no hidden state 'nowhere'"):
        load("{name: near}", plugins="[mine.py]")
