"""A recipe's task: its own losses where none are named, losses and teachers of another task, and what has a name and no room."""

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.tasks import OTHER_NAMES, UNBUILT

RECIPE = """\
name: small
data:
  source: easy_vqa
  task: {task}
  inputs: {{numbers: {{size: 4}}}}
teacher: {{source: fit, encoders: {{numbers: {{model: raw}}}}}}
student: {{encoders: {{numbers: {{}}}}}}
"""


PICTURES = (
    "data.inputs={image: {size: 64}}",
    "student.encoders={image: {}}",
    "teacher={source: fit, encoders: {image: {model: efficientnet_lite2}}}",
)


@pytest.fixture
def load(tmp_path: Path):
    def load(task: str, *overrides: str):
        (tmp_path / "a.yaml").write_text(RECIPE.format(task=task))
        return load_recipe(tmp_path / "a.yaml", overrides).recipe

    return load


@pytest.mark.parametrize(
    ("task", "losses"),
    [
        ("single_label", ["cross_entropy", "kd"]),
        ("multi_label", ["binary_cross_entropy", "binary_kd"]),
        ("regression", ["squared_error", "number_kd"]),
    ],
)
def test_task_brings_its_losses(load, task: str, losses: list[str]) -> None:
    assert [loss.name for loss in load(task).distill.losses] == losses


def test_losses_of_the_recipe_stay(load) -> None:
    recipe = load("regression", "distill.losses=[{name: absolute_error, options: {beta: 0.5}}]")
    assert [(loss.name, loss.options) for loss in recipe.distill.losses] == [("absolute_error", {"beta": 0.5})]


@pytest.mark.parametrize(
    ("task", "override", "message"),
    [
        (
            "regression",
            "distill.losses=[{name: kd}]",
            "kd is a loss of another task; regression takes squared_error, absolute_error, number_kd",
        ),
        (
            "retrieval",
            "distill.losses=[{name: vector_kd}]",
            "retrieval finds one kind of input by another, and numbers is alone; take embedding",
        ),
        (
            "retrieval",
            "distill.losses=[{name: label_contrast}]",
            "retrieval takes tower_contrast, vector_kd, tower_affinity, tower_neighbours",
        ),
        ("retrieval", "teacher={source: folder, path: .}", "or texts and sounds (CLAP); the data has numbers; take fit"),
        ("retrieval", "student.classifier=teacher", "retrieval has no classifier; leave it out"),
        ("regression", "teacher.smoothing=0.1", "regression has no single label that could be spread over others"),
        (
            "single_label",
            "distill.losses=[{name: number_kd}]",
            "number_kd is a loss of another task; single_label takes cross_entropy, weighted_cross_entropy, focal, kd",
        ),
        ("multi_label", "data.task_options.seperator=x", "unknown option (did you mean 'separator'?)"),
        ("multi_label", "data.task_options.separator=3", "3 is int, but str is needed"),
        ("regression", "data.imbalance=batches", "regression has no labels that are rare; leave it out"),
        ("regression", "data.task=multilabel", "unknown task 'multilabel' (did you mean 'multi_label'?)"),
        (
            "embedding",
            "teacher={source: folder, path: ., fine_tune: {epochs: 1}}",
            "the vectors of a model from folder are the space of embedding; leave it out",
        ),
        (
            "regression",
            "teacher={source: hub, id: a/b, revision: '" + 40 * "0" + "'}",
            "hub answers in a form or a scale of its own, and regression needs that of your training rows; take fit, or weights with fine_tune",
        ),
    ],
)
def test_what_does_not_fit_is_told(load, task: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(task, override)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(("alias", "name"), [(alias, name) for name, others in UNBUILT.items() for alias in (name, *others[:1])])
def test_what_is_not_built_is_told_by_name(load, alias: str, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(alias)
    assert [problem.partition("data.task: ")[2] for problem in caught.value.problems] == [
        f"{name} is not built; docs/guide.md says what it would need. See 'compress list tasks'"
    ]


@pytest.mark.parametrize(("alias", "name"), [(aliases[0], name) for name, aliases in OTHER_NAMES.items()])
def test_what_has_another_name_here_is_told(load, alias: str, name: str) -> None:
    with pytest.raises(RecipeError, match=f"data.task: {alias} is called {name} here"):
        load(alias)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("numbers: {size: 4}", "token_labels reads text alone, found numbers"),
        ("text: {length: 8}", "token_labels needs it to be true"),
    ],
)
def test_a_task_of_words_reads_words(load, inputs: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(
            "token_labels",
            f"data.inputs={{{inputs}}}",
            f"student.encoders={{{inputs.split(':')[0]}: {{}}}}",
            "teacher={source: folder, path: t}",
        )
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "segmentation reads pictures alone, found numbers"),
        (["data.task_options.stride=6"], "6 does not divide the 64 pixels of a side; 4 and 8 are usual"),
        (
            ["distill.augment={image: {shift: 4}}"],
            "moves a picture by less than a place, and segmentation cannot",
        ),
        (["distill.augment={image: {cutmix: 1.0}}", "distill.teacher=live"], "would need the masks cut as well, and segmentation cannot"),
        (["student.classifier=teacher"], "segmentation has a head over maps, which ends in no layer of the teacher's"),
        (["distill.losses=[{name: kd}]"], "segmentation takes pixel_cross_entropy, pixel_dice, pixel_kd"),
        (["distill.store_top_k=2"], "segmentation has no likeliest labels that could be kept"),
        (["data.judge=teacher"], "segmentation learns from labels what an answer is"),
    ],
)
def test_a_task_of_places_reads_pictures_and_moves_masks_with_them(load, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("segmentation", *(PICTURES if overrides else []), *overrides)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


def test_classes_of_places_may_be_named(load) -> None:
    assert load("segmentation", *PICTURES, "data.names=[a, b]").data.names == ["a", "b"]


def test_an_input_that_is_not_built_is_told_by_name(load) -> None:
    with pytest.raises(RecipeError, match=r"data.inputs.video: video is not built") as caught:
        load("single_label", "data.inputs={video: {size: 3}}")
    assert not any("unknown key" in problem for problem in caught.value.problems)
