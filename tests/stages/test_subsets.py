"""Accuracy with some of the inputs alone, on a graph whose answer is known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.data.prepared import PreparedData, Split
from compress.io_spec import PRESENT
from compress.stages.benchmark.candidate import Candidate
from compress.stages.benchmark.subsets import score_subsets, subsets


@pytest.fixture
def model(tmp_path: Path) -> Candidate:
    """logits = present @ [[0, 2], [1, 0]]: answer 1 where the image is there, 0 where the text is alone."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [PRESENT, "weight"], ["logits"])],
        "tiny",
        [helper.make_tensor_value_info(PRESENT, TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.float32([[0, 2], [1, 0]]), "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    return Candidate(tmp_path / "a.onnx", "student", "fp32", 4, {PRESENT: np.float32([[1, 1], [1, 0]])})


class Data(PreparedData):
    """Five test rows; the second has no text, the last no label."""

    def split(self, name: str) -> Split:
        rows = {"image": np.arange(5), "text": np.zeros(5, int), PRESENT: np.array([0, 1, 0, 0, 0])}
        inputs = {"image": np.arange(5), "text": np.zeros(1), PRESENT: np.float32([[1, 1], [1, 0]])}
        none = np.full(5, -1)
        return Split("test", inputs, rows, np.array([1, 0, 1, 0, -1]), none, none, np.zeros(5, bool), inputs)


def test_each_set_of_inputs_is_scored_on_the_rows_that_have_all(model: Candidate, tmp_path: Path) -> None:
    data = Data(tmp_path, ["no", "yes"], [], {"modalities": ["image", "text"], "task": "single_label"})
    found = {tuple(line["inputs"]): line["accuracy"]["fp32"] for line in score_subsets({"fp32": model}, data, threads=1)}
    # rows 0, 2 and 3 count: with the image the answer is 1, right twice; with the text alone 0, right once
    assert {names: (share["correct"], share["samples"]) for names, share in found.items()} == {
        ("image", "text"): (2, 3),
        ("image",): (2, 3),
        ("text",): (1, 3),
    }


def test_sets_of_inputs_are_told_the_larger_ones_first() -> None:
    assert list(subsets(["a", "b", "c"])) == [("a", "b", "c"), ("a", "b"), ("a", "c"), ("b", "c"), ("a",), ("b",), ("c",)]
