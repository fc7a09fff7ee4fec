"""Foreign ONNX files behind our ports, against the same arithmetic in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from ports import io_spec

from compress.device.sessions import open_session
from compress.errors import DataError, RecipeError
from compress.graphs.adapt import Reading, adapt
from compress.io_spec import IOSpec, Port

DRAW = np.random.default_rng(0)
WEIGHTS = DRAW.normal(size=(3, 4)).astype(np.float32)
MEAN, DEVIATION = np.float32([100, 110, 120]), np.float32([50, 60, 70])
PIXELS = {"image": [("Cast", "float32"), ("Sub", MEAN), ("Div", DEVIATION), ("Transpose", (0, 3, 1, 2))]}  # the file's input has our name


def pictures(*, batch: Any = "n", softmax: bool = False, sigmoid: bool = False, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """image (n, 3, 4, 4) -> scores (n, 4): the means of the three colours times WEIGHTS."""
    nodes = [helper.make_node("Cast", ["image"], ["x"], to=1), helper.make_node("ReduceMean", ["x", "plane"], ["mean"], keepdims=0)]
    nodes.append(helper.make_node("MatMul", ["mean", "weights"], ["logits"]))  # a name that is ours, too
    nodes.append(helper.make_node("Softmax" if softmax else "Sigmoid" if sigmoid else "Identity", ["logits"], ["scores"]))
    constants = {"weights": WEIGHTS, "plane": np.array([2, 3])}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", kind, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    onnx.save(model, folder / "adapted.onnx")
    return open_session(folder / "adapted.onnx").run(feeds)["logits"]


def reference(images: np.ndarray) -> np.ndarray:
    return ((images.astype(np.float32) - MEAN) / DEVIATION).mean((1, 2)) @ WEIGHTS  # (N, 4)


IMAGES = DRAW.integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_logits_are_those_of_the_file_in_the_order_of_the_labels(kind: int, tmp_path: Path) -> None:
    adapted = adapt(pictures(kind=kind), io_spec(image_size=4, classes=3), {"image": PIXELS}, Reading(None, [2, 0, 3], 4, "logits"))
    np.testing.assert_allclose(run(adapted, {"image": IMAGES}, tmp_path), reference(IMAGES)[:, [2, 0, 3]], atol=1e-5 if kind == 1 else 5e-3)


def test_probabilities_become_their_logarithms(tmp_path: Path) -> None:
    adapted = adapt(
        pictures(softmax=True), io_spec(image_size=4, classes=4), {"image": PIXELS}, Reading("scores", [0, 1, 2, 3], 4, "probabilities")
    )
    scores = reference(IMAGES)
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(run(adapted, {"image": IMAGES}, tmp_path), expected, atol=1e-5)


def test_probabilities_that_stand_for_themselves_become_log_odds(tmp_path: Path) -> None:
    reading = Reading("scores", [3, 1], 4, "probabilities", odds=True)
    adapted = adapt(pictures(sigmoid=True), io_spec(image_size=4, classes=2), {"image": PIXELS}, reading)
    np.testing.assert_allclose(run(adapted, {"image": IMAGES}, tmp_path), reference(IMAGES)[:, [3, 1]], atol=1e-4)  # of the sigmoid of x: x


def test_one_input_of_ours_feeds_several_of_the_file(tmp_path: Path) -> None:
    """ids * 10 + mask + types, each token one class."""
    names = {"ids": TensorProto.INT32, "mask": TensorProto.INT64, "types": TensorProto.INT64}
    nodes = [helper.make_node("Cast", [name], [f"{name}_float"], to=1) for name in names]
    nodes += [helper.make_node("Mul", ["ids_float", "ten"], ["scaled"]), helper.make_node("Add", ["scaled", "mask_float"], ["sum"])]
    nodes.append(helper.make_node("Add", ["sum", "types_float"], ["out"]))
    inputs = [helper.make_tensor_value_info(name, kind, ["n", 3]) for name, kind in names.items()]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "texts", inputs, [output], [numpy_helper.from_array(np.float32([10]), "ten")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    io = IOSpec((Port("text", "int64", (3,)),), (Port("logits", "float32", (3,)),))
    feeds = {"text": {"ids": [], "mask": [("Sub", np.int64(7)), ("Cast", "bool")], "types": [("Mul", np.int64(0))]}}
    got = run(adapt(model, io, feeds, Reading(None, [0, 1, 2], 3, "logits")), {"text": np.array([[4, 7, 0]])}, tmp_path)
    assert got.tolist() == [[41.0, 70.0, 1.0]]  # 7 is the padding


@pytest.mark.parametrize(
    ("model", "feeds", "reading", "kind", "words"),
    [
        (
            pictures(),
            {"imag": []},
            Reading(None, [0], 4, "logits"),
            RecipeError,
            r"no input 'imag' \(did you mean 'image'\?\); it has 'image'",
        ),
        (pictures(), {}, Reading(None, [0], 4, "logits"), RecipeError, "nothing feeds the file's input 'image'"),
        (pictures(batch=1), PIXELS, Reading(None, [0], 4, "logits"), RecipeError, "input 'image' has a batch of 1; export the file again"),
        (pictures(), PIXELS, Reading("score", [0], 4, "logits"), RecipeError, r"no output 'score' \(did you mean 'scores'\?\)"),
        (pictures(), PIXELS, Reading(None, [0], 3, "logits"), DataError, "names 3 classes, but output 'scores' has 4"),
    ],
)
def test_file_that_does_not_fit_says_why(model: onnx.ModelProto, feeds: dict, reading: Reading, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        adapt(model, io_spec(image_size=4, classes=len(reading.columns)), {"image": feeds}, reading)
