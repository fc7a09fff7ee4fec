"""Logits to many rows: no input is computed twice, and no short cut changes an answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.device.sessions import Session
from compress.stages.benchmark import scoring
from compress.stages.benchmark.candidate import Candidate

RANDOM = np.random.default_rng(0)
IMAGES, TEXTS = RANDOM.standard_normal((5, 4)).astype(np.float32), RANDOM.standard_normal((7, 4)).astype(np.float32)
EVERY = {"image": np.repeat(np.arange(5), 7), "text": np.tile(np.arange(7), 5)}  # each image with each text
TEST = SimpleNamespace(rows={name: np.concatenate([rows, rows[:3]]) for name, rows in EVERY.items()})  # and three of them twice
ROWS = np.arange(38)


def write(path: Path) -> Candidate:
    """logits = relu(image @ w) * relu(text @ w)"""
    node = helper.make_node
    wide = [node("MatMul", [port, "w"], [f"{port}_wide"]) for port in ("image", "text")]
    states = [node("Relu", [f"{port}_wide"], [f"{port}_state"]) for port in ("image", "text")]
    nodes = [*wide, *states, node("Mul", ["image_state", "text_state"], ["logits"])]
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, ["batch", 4]) for port in ("image", "text")]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    w = numpy_helper.from_array(np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32), "w")
    graph = helper.make_graph(nodes, "g", ports, [logits], [w])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return Candidate(path, "student", "fp32", 1, {"image": IMAGES, "text": TEXTS})


def expected(model: Candidate) -> np.ndarray:
    (w,) = (numpy_helper.to_array(tensor) for tensor in onnx.load(model.path).graph.initializer)
    return np.maximum(IMAGES @ w, 0)[TEST.rows["image"]] * np.maximum(TEXTS @ w, 0)[TEST.rows["text"]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(file, rows) of each call that a session answers."""
    calls: list[tuple[str, int]] = []
    run = Session.run

    def watched(self: Session, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        calls.append((self._path.name, len(next(iter(feeds.values())))))
        return run(self, feeds)

    monkeypatch.setattr(Session, "run", watched)
    monkeypatch.setattr(scoring, "SCORE_BATCH", 8)
    return calls


def test_each_distinct_input_is_computed_once(tmp_path: Path, asked: list[tuple[str, int]]) -> None:
    model = write(tmp_path / "m.onnx")
    np.testing.assert_allclose(scoring.score(model, TEST, ROWS, threads=1), expected(model), rtol=1e-6)
    rows = {name: sum(count for file, count in asked if file == name) for name in dict(asked)}
    assert rows == {"m.onnx": 7, "image.onnx": 5, "text.onnx": 7, "joint.onnx": 35}  # the whole file: every fifth row, to compare


def test_whole_file_answers_where_its_parts_do_not_agree_with_it(tmp_path: Path, asked: list[tuple[str, int]], monkeypatch) -> None:
    model = write(tmp_path / "m.onnx")
    monkeypatch.setattr(scoring, "_by_parts", lambda *_, **__: np.zeros((35, 3), np.float32))
    np.testing.assert_allclose(scoring.score(model, TEST, ROWS, threads=1), expected(model), rtol=1e-6)
    assert sum(count for _, count in asked) == 7 + 35


def test_file_is_not_cut_where_inputs_hardly_repeat(tmp_path: Path, asked: list[tuple[str, int]]) -> None:
    model, few = write(tmp_path / "m.onnx"), SimpleNamespace(rows={"image": np.arange(5), "text": np.arange(5)})
    scoring.score(model, few, np.arange(5), threads=1)
    assert dict(asked) == {"m.onnx": 5}


def test_logits_that_are_not_finite_stay_so(tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx")
    broken = Candidate(model.path, "student", "fp32", 1, {"image": np.where(np.arange(5)[:, None] == 2, np.nan, IMAGES), "text": TEXTS})
    found = scoring.score(broken, TEST, ROWS, threads=1)
    assert (np.isnan(found).any(1) == (TEST.rows["image"] == 2)).all()
