"""A teacher that is an ONNX file: it answers as the file does, and goes through the whole chain."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compress.errors import CompressError
from compress.models.saved import load_model
from compress.pipeline import RunResult, plan, run
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: foreign
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {numbers: {size: 4}}
teacher: {source: onnx, path: net.onnx, form: probabilities, classes: [other, down, up], feeds: {numbers: {name: features}}}
student: {encoders: {numbers: {options: {width: 8}}}}
distill: {train: {epochs: 10, batch_size: 16, learning_rate: 1.0e-2}}
export: {targets: [onnxruntime_x86], parity: {samples: 32}}
benchmark: {batches: [1], rounds: 10, warmup: 1}
"""
WEIGHTS = np.float32([[-1, -3, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]])  # of four numbers the first one decides: other, down, up


def write_net(path: Path) -> None:
    """features (n, 4) float64 -> p (n, 3), the softmax of features @ WEIGHTS."""
    nodes = [helper.make_node("Cast", ["features"], ["x"], to=1), helper.make_node("MatMul", ["x", "w"], ["scores"])]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", ["scores"], ["p"])],
        "net",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["n", 4])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("foreign"), np.random.default_rng(0)
    for split, count in (("train", 200), ("test", 40)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["numbers", "label"])
            for values in draw.normal(size=(count, 4)):
                rows.writerow([" ".join(f"{v:.4f}" for v in values), "up" if values[0] > 0 else "down"])
    write_net(folder / "net.onnx")
    (folder / "a.yaml").write_text(RECIPE)
    return folder / "a.yaml"


@pytest.fixture(scope="module")
def finished(recipe: Path) -> RunResult:
    return run(load_recipe(recipe), runs=recipe.parent / "runs", threads=1, say=lambda _: None)


@pytest.fixture
def refused(recipe: Path) -> Callable[..., str]:
    """What a run with these overrides says when its teacher is made."""

    def refused(*overrides: str) -> str:
        with pytest.raises(CompressError) as caught:
            run(load_recipe(recipe, overrides), runs=recipe.parent / "runs", threads=1, last="teacher", say=lambda _: None)
        return str(caught.value)

    return refused


def test_teacher_answers_as_its_file_does(finished: RunResult) -> None:
    values = torch.randn(40, 4)  # more rows than one call takes
    p = (values @ torch.from_numpy(WEIGHTS)).softmax(1)
    rows = torch.arange(40).flip(0)
    found = load_model(finished.artifacts["teacher"].path)({"numbers": values}, {"numbers": rows}).logits
    torch.testing.assert_close(found, p[rows][:, [1, 2]].clamp(1e-6).log(), rtol=1e-4, atol=1e-4)  # down, up: the data's labels


def test_file_is_the_teacher_of_the_benchmark(finished: RunResult, recipe: Path) -> None:
    measured = json.loads((finished.folder / "10-benchmark" / "measurements.json").read_text())["models"]
    teacher, shipped = measured["teacher"], measured[finished.summary["shipped_model"]]
    assert teacher["accuracy"]["value"] == 1.0 and teacher["latency"]["1"]["median_ms"] > 0
    assert teacher["size"]["value"] >= (recipe.parent / "net.onnx").stat().st_size
    assert teacher["parameters"]["value"] >= WEIGHTS.size
    assert shipped["latency"]["1"]["teacher_over_this"]["value"] > 0
    assert finished.summary["student_accuracy"] > 0.8 and finished.bundle.is_dir()


def test_another_file_is_another_teacher(finished: RunResult, recipe: Path) -> None:
    other = recipe.with_name("other.onnx")
    other.write_bytes((recipe.parent / "net.onnx").read_bytes())
    planned = {s.name: s for s in plan(load_recipe(recipe, ["teacher.path=other.onnx"]), runs=recipe.parent / "runs", threads=1)}
    assert planned["data"].action == "reuse" and planned["teacher"].action == "run"
    assert {s.action for s in plan(load_recipe(recipe), runs=recipe.parent / "runs", threads=1)} == {"reuse"}


def test_hash_that_is_not_the_files_is_refused(refused: Callable[..., str], recipe: Path) -> None:
    own = hashlib.sha256((recipe.parent / "net.onnx").read_bytes()).hexdigest()
    assert own in refused(f"teacher.sha256={64 * '0'}")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("teacher.classes=[up, left, right]",), "teacher.classes: 1 of the data's 2 labels are not there, such as ['down']"),
        (("teacher.classes=[up, down, up]",), "teacher.classes: names a class twice: up"),
        (("teacher.classes=[up, down]",), "teacher.classes: names 2 classes, but output 'p' has 3"),
        (("teacher.feeds.numbers.name=feature",), "no input 'feature' (did you mean 'features'?)"),
        (("teacher.path=train.csv",), "cannot be used as an ONNX model"),
    ],
)
def test_what_does_not_fit_is_told_before_training(overrides: tuple[str, ...], words: str, refused: Callable[..., str]) -> None:
    assert words in refused(*overrides)
