"""Words of a recipe that ask more of a teacher than its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: small
data: {{source: easy_vqa{data}, inputs: {{image: {{size: 64}}, text: {{length: 8}}}}}}
teacher: {{source: answers, path: answers.csv, form: {form}}}
student: {{encoders: {{image: {{}}, text: {{{text}}}}}{student}}}
distill: {{{distill}}}
budget: {{{budget}}}
"""


def load(folder: Path, **words: str) -> None:
    (folder / "answers.csv").touch()
    given = {"data": "", "form": "probabilities", "text": "", "student": "", "distill": "", "budget": "", **words}
    (folder / "a.yaml").write_text(RECIPE.format(**given))
    load_recipe(folder / "a.yaml")


def test_answers_may_teach_with_views_and_drop_limits(tmp_path: Path) -> None:
    load(tmp_path, distill="augment: {views: 2, image: {flip: true}}", budget="max_drop_points: 1", text="vocab: own")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            {"distill": "losses: [{name: hint}]"},
            "distill.losses[0].name: hint compares the teacher's embedding, and a teacher of source answers",
        ),
        ({"student": ", classifier: teacher"}, "student.classifier: a teacher of source answers has no last layer"),
        ({"text": "initialise: teacher"}, "student.encoders.text.initialise: a teacher of source answers has no weights to start from"),
        ({"text": "vocab: full"}, "student.encoders.text.vocab: a teacher of source answers has no vocabulary"),
        ({"distill": "teacher: live"}, "distill.teacher: a table has no answers to what nobody asked; set it to stored"),
        ({"distill": "augment: {text: {wordings: 4}}"}, "distill.augment.text.wordings: a teacher of source answers shows no vectors"),
        ({"distill": "augment: {pairings: 4}"}, "distill.augment.pairings: a table has no answers to what nobody asked; set it to 0"),
        ({"budget": "min_latency_ratio: 2"}, "budget.min_latency_ratio: a table of answers takes no time"),
        ({"data": ", task: regression"}, "teacher.form: regression reads answers of such a teacher, found probabilities"),
    ],
)
def test_what_a_table_cannot_give_is_a_fault_with_its_place(words: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, **words)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("{source: answers, path: answers.csv}", "teacher: source answers needs the key 'form'"),
        ("{source: answers, path: gone.csv, form: logits}", "teacher.path: "),
        ("{source: answers, path: answers.csv, form: logits, sha256: '" + 64 * "0" + "'}", "source answers does not take the key 'sha256'"),
        ("{source: hub, id: a/b, revision: '" + 40 * "0" + "', labels: {a: b}}", "source hub does not take the key 'labels'"),
        ("{source: answers, path: answers.csv, form: odds}", "teacher.form: must be one of probabilities, logits, answers"),
        ("{source: answers, path: answers.csv, form: logits, columns: {name: x}}", "teacher.columns"),
    ],
)
def test_keys_of_a_table_are_checked(teacher: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").touch()
    (tmp_path / "a.yaml").write_text(
        f"name: a\ndata: {{source: easy_vqa, inputs: {{image: {{size: 64}}}}}}\nteacher: {teacher}\nstudent: {{encoders: {{image: {{}}}}}}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_own_tokens_have_no_place_in_the_teacher(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: {source: easy_vqa, inputs: {text: {length: 8}}}\nteacher: {source: fit, encoders: {text: {model: minilm_l6}}}\n"
        "student: {encoders: {text: {vocab: own, initialise: teacher}}}\n"
    )
    with pytest.raises(RecipeError, match="tokens of the student's own have no place in the teacher's layers"):
        load_recipe(tmp_path / "a.yaml")


ONNX = """\
name: small
data: {{source: easy_vqa, inputs: {{image: {{size: 64}}, text: {{length: 8}}}}}}
teacher: {{source: onnx, path: net.onnx, form: {form}, classes: [a, b], feeds: {{{feeds}}}}}
student: {{encoders: {{image: {{}}, text: {{}}}}}}
distill: {{{distill}}}
"""
FEEDS = "image: {pixels: unit}, text: {}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"feeds": "image: {pixels: unit}"}, "data.inputs.text is set, but teacher.feeds.text is not"),
        ({"feeds": "image: {}, text: {}"}, "teacher.feeds.image.pixels: this key is required"),
        ({"feeds": "image: {pixels: units}, text: {}"}, "must be one of bytes, unit, half, imagenet, clip; found the text 'units'"),
        ({"form": "answers"}, "a file gives probabilities or logits, so form is one of these"),
        (
            {"distill": "losses: [{name: pkt}]"},
            "pkt compares the teacher's embedding, and a teacher of source onnx shows its answers alone",
        ),
        ({"distill": "augment: {text: {wordings: 4}}"}, "a teacher of source onnx shows no vectors of words"),
    ],
)
def test_what_an_onnx_file_cannot_give_is_a_fault(words: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    (tmp_path / "a.yaml").write_text(ONNX.format(**{"form": "logits", "feeds": FEEDS, "distill": "", **words}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_onnx_file_may_answer_live(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    (tmp_path / "a.yaml").write_text(ONNX.format(form="logits", feeds=FEEDS, distill="teacher: live, augment: {image: {flip: true}}"))
    assert load_recipe(tmp_path / "a.yaml").recipe.teacher.asked


@pytest.mark.parametrize(
    ("teacher", "inputs", "said"),
    [
        ("path: clip", "image: {size: 64}", "teacher: source zero_shot needs the key 'templates'"),
        ("templates: ['a {}']", "image: {size: 64}", "source zero_shot needs one of path, and id with revision"),
        ("path: clip, templates: ['a {} or {}']", "image: {size: 64}", "teacher.templates[0]: must match"),
        ("path: clip, templates: []", "image: {size: 64}", "teacher.templates: needs at least 1 entry"),
        (
            "path: clip, templates: ['a {}']",
            "image: {size: 64}, text: {length: 8}",
            "teacher.source: a dual encoder compares one input with",
        ),
        ("path: clip, templates: ['a {}'], form: logits", "image: {size: 64}", "source zero_shot does not take the key 'form'"),
    ],
)
def test_keys_of_a_zero_shot_teacher_are_checked(teacher: str, inputs: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    students = ", ".join(f"{part.split(':')[0].strip()}: {{}}" for part in inputs.split("},"))
    (tmp_path / "a.yaml").write_text(
        f"name: a\ndata: {{source: easy_vqa, inputs: {{{inputs}}}}}\nteacher: {{source: zero_shot, {teacher}}}\n"
        f"student: {{encoders: {{{students}}}}}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
