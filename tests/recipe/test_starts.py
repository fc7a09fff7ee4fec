"""First weights that cannot be had are faults of the recipe, told before any run."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: small
data: {{source: easy_vqa, inputs: {{image: {{size: 64}}, text: {{length: 8}}}}}}
teacher: {{source: fit, encoders: {{image: {{model: {teacher}}}, text: {{model: minilm_l6}}}}}}
student: {{encoders: {{image: {{model: {student}, initialise: {how}}}, text: {{}}}}}}
"""


FOREIGN = """\
name: small
data: {{source: easy_vqa, inputs: {{image: {{size: 64}}}}}}
teacher: {{source: fit, encoders: {{image: {{model: {teacher}}}}}}}
student: {{encoders: {{image: {{model: transformers_cnn, options: {{{options}}}{more}}}}}}}
"""


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ("folder: net", "", "student.encoders.image: transformers_cnn needs the key initialise: pretrained for the weights"),
        ("folder: net", ", initialise: teacher", "student.encoders.image.initialise: transformers_cnn brings its own weights; set it"),
        ("", ", initialise: random", "student.encoders.image.options: transformers_cnn needs one of folder, id (with revision) and config"),
        ("id: a/b", ", initialise: pretrained", "student.encoders.image.options.revision: the commit of the hub's model is needed"),
        ("folder: gone", ", initialise: pretrained", "gone is not there; paths start from the recipe's folder"),
    ],
)
def test_model_of_transformers_says_where_it_is_from_and_whether_its_weights_are_wanted(
    tmp_path: Path, options: str, more: str, said: str
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "a.yaml").write_text(FOREIGN.format(teacher="mobilenet_v2", options=options, more=more))
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    assert len(caught.value.problems) == 1 and said in caught.value.problems[0]


def test_model_of_transformers_is_no_frozen_teacher(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "a.yaml").write_text(
        FOREIGN.format(teacher="transformers_cnn, options: {folder: net}", options="folder: net", more=", initialise: pretrained")
    )
    with pytest.raises(RecipeError, match="transformers_cnn is a student's; give the whole model as teacher.source: folder or hub"):
        load_recipe(tmp_path / "a.yaml")


def faults(folder: Path, *, student: str, how: str, teacher: str = "efficientnet_lite2") -> list[str]:
    (folder / "a.yaml").write_text(RECIPE.format(student=student, how=how, teacher=teacher))
    try:
        load_recipe(folder / "a.yaml")
    except RecipeError as error:
        return [problem.partition(" ")[2] for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("student", "how", "teacher", "said"),
    [
        (
            "mobilenet_v4",
            "pretrained",
            "efficientnet_lite2",
            "mobilenet_v4 has no published weights; set it to random, or take a model that has: ",
        ),
        (
            "mobilenet_v4",
            "teacher",
            "efficientnet_lite2",
            "mobilenet_v4 cannot be picked from the teacher's efficientnet_lite2; set it to random",
        ),
        (
            "mobilenet_v2",
            "teacher",
            "efficientnet_lite2",
            "cannot be picked from the teacher's efficientnet_lite2; a teacher with mobilenet_v2, or",
        ),
        ("mobilenet_v2", "taught", "efficientnet_lite2", "must be one of pretrained, teacher, random; found"),
    ],
)
def test_start_that_cannot_be_had_is_a_fault(tmp_path: Path, student: str, how: str, teacher: str, said: str) -> None:
    found = faults(tmp_path, student=student, how=how, teacher=teacher)
    assert len(found) == 1 and found[0].startswith("student.encoders.image.initialise: ") and said in found[0]


@pytest.mark.parametrize(
    ("student", "how", "teacher"),
    [
        ("mobilenet_v2", "pretrained", "efficientnet_lite2"),
        ("mobilenet_v2", "teacher", "mobilenet_v2"),
        ("mobilenet_v4", "random", "efficientnet_lite2"),
        ("efficientnet_lite2", "pretrained", "mobilenet_v2"),
    ],
)
def test_start_that_can_be_had_is_none(tmp_path: Path, student: str, how: str, teacher: str) -> None:
    assert faults(tmp_path, student=student, how=how, teacher=teacher) == []
