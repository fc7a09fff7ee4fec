"""What a recipe with several heads is refused for, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.recipe import Recipe

RECIPE = """\
name: small
data:
  source: manifest
  task: several
  heads:
    state: {}
    price: {task: regression, column: cost, weight: 0.5}
    tags: {task: multi_label, task_options: {separator: "+"}}
  options: {train: rows.csv, test: rows.csv}
  inputs: {numbers: {size: 4}}
teacher: {source: fit, encoders: {numbers: {model: raw}}}
student: {encoders: {numbers: {}}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Recipe]:
    def load(*overrides: str, text: str = RECIPE) -> Recipe:
        (tmp_path / "a.yaml").write_text(text)
        (tmp_path / "rows.csv").touch()
        return load_recipe(tmp_path / "a.yaml", overrides).recipe

    return load


def test_each_head_brings_the_losses_of_its_task(load: Callable[..., Recipe]) -> None:
    recipe = load()
    assert [(loss.head, loss.name) for loss in recipe.distill.losses] == [
        ("state", "cross_entropy"), ("state", "kd"), ("price", "squared_error"), ("price", "number_kd"),
        ("tags", "binary_cross_entropy"), ("tags", "binary_kd"),
    ]  # fmt: skip
    assert {name: head["column"] for name, head in recipe.data.room["data_heads"].items()} == {
        "state": "state",
        "price": "cost",
        "tags": "tags",
    }
    assert load("data.heads.price.weight=2").data.heads["price"].weight == 2


def test_losses_of_the_recipe_stay_and_hidden_states_are_shared(load: Callable[..., Recipe]) -> None:
    recipe = load("distill.losses=[{name: focal, head: state}, {name: absolute_error, head: price}, {name: hint}]")
    assert [(loss.head, loss.name) for loss in recipe.distill.losses] == [("state", "focal"), ("price", "absolute_error"), (None, "hint")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.heads.price.task=token_labels", "token_labels cannot be one of several heads; these can: single_label, multi_label, regression"),
        ("data.heads.price.task=embedding", "embedding cannot be one of several heads"),
        ("data.heads.price.task=several", "several cannot be one of several heads"),
        ("data.heads.price.task=regresion", "unknown task 'regresion' (did you mean 'regression'?)"),
        ("data.heads.price.weight=0", "must be more than 0, found 0"),
        ("data.heads.price.colum=x", "unknown key 'colum' (did you mean 'column'?)"),
        ("data.heads.tags.task_options.seperator=x", "unknown option (did you mean 'separator'?)"),
        ("data.heads={state: {}}", "several needs at least two heads, found 1; of one take its own task"),
        ("data.heads={State: {}, price: {}}", "must match"),
        ("data.task=multi_task", "multi_task is called several here"),
        ("data.task=single_label", "single_label has one answer a row and no heads; set data.task: several, or leave it out"),
        ("data.task_options.heads={}", "unknown option"),
        ("data.source=groceries", "groceries has one label a row, and each head needs its own; these have more: easy_vqa, manifest, hub, webdataset, fsdd"),
        ("data.options.columns={label: state}", "each head names its own column (data.heads); leave it out"),
        ("data.imbalance=batches", "rare labels of one head are no rare labels of another; leave it out"),
        ("distill.objective=auto", "pilots compare the terms of one task, and heads have several; leave it out and name distill.losses"),
        ("distill.losses=[{name: kd}]", "kd reads the logits of one head; add head: one of state, price, tags"),
        ("distill.losses=[{name: kd, head: stat}]", "there is no head 'stat'; data.heads has state, price, tags"),
        ("distill.losses=[{name: kd, head: price}]", "kd is a loss of another task; head price, regression, takes squared_error, absolute_error"),
        ("distill.losses=[{name: hint, head: price}]", "hint compares hidden states, which all heads share; leave it out"),
        ("distill.store_top_k=3", "several has no likeliest labels that could be kept"),
        ("data.judge=teacher", "is for one of K labels"),
        ("teacher={source: folder, path: .}", "folder answers in a form or a scale of its own, and several needs that of your training rows; take fit"),
        ("teacher={source: answers, path: rows.csv, form: logits}", "several does not say how such answers become a model's numbers"),
        ("teacher.smoothing=0.1", "several has no single label that could be spread over others"),
    ],
)  # fmt: skip
def test_what_heads_cannot_have_is_refused(load: Callable[..., Recipe], override: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load(override)
    assert message in str(raised.value)


def test_two_heads_of_one_name_are_refused_with_their_line(load: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"a.yaml:7.*'state' is there twice|a.yaml:7.*state"):
        load(text=RECIPE.replace("    price:", "    state: {}\n    price:"))


def test_a_recipe_without_heads_has_none_of_their_words(load: Callable[..., Recipe]) -> None:
    text = RECIPE.replace("task: several", "task: regression").replace(RECIPE[RECIPE.index("  heads") : RECIPE.index("  options")], "")
    for override, message in (
        ("distill.losses=[{name: squared_error, head: price}]", "regression has no heads; leave it out"),
        ("budget.max_head_drop_points=1", "regression has one answer a row and no heads"),
    ):
        with pytest.raises(RecipeError, match=message):
            load(override, text=text)
