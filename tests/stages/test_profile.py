"""Where the time of a file goes: on a graph of one large product and small change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.reporting.notes import show_operators
from compress.stages.benchmark.profile import COSTLIEST, measure_peaks, profile


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    """logits (N, 8) = relu(x (N, 512) @ w (512, 4096)) @ v (4096, 8): 512 * 4096 + 4096 * 8 multiply-adds a row."""
    w, v = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((512, 4096), (4096, 8)))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wide"], name="heavy"),
        helper.make_node("Sigmoid", ["wide"], ["gate"], name="gate"),
        helper.make_node("MatMul", ["gate", "v"], ["logits"], name="light"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 512), ("logits", 8))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(v, "v")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_costliest_node_comes_first_and_shares_add_up(heavy: Path) -> None:
    found = profile(heavy, {"x": np.ones((1, 512), np.float32)}, threads=1, median_ms=0.5)
    assert found["nodes"][0]["node"] == "heavy" and found["nodes"][0]["operator"] == "MatMul" and found["nodes"][0]["us"] > 0
    assert len(found["nodes"]) <= COSTLIEST and next(iter(found["operators"])) == "MatMul"
    assert sum(found["operators"].values()) == pytest.approx(1)
    assert found["multiply_adds"] == 512 * 4096 + 4096 * 8
    assert found["giga_ops_per_s"] == pytest.approx(2 * (512 * 4096 + 4096 * 8) / 0.0005 / 1e9)


def test_peaks_of_this_machine_are_above_zero_and_finite() -> None:
    peaks = measure_peaks(threads=1)
    assert set(peaks) == {"fp32", "int8", "copy"} and all(0.1 < value < 1e6 for value in peaks.values())


@pytest.mark.parametrize(
    ("precision", "words"), [("fp32", "50 GFLOP/s in float32 here (20 %)"), ("int8_qat", "200 GOP/s in int8 here (5 %)")]
)
def test_table_holds_a_file_against_the_peak_of_its_arithmetic(precision: str, words: str) -> None:
    nodes = [{"node": "a", "operator": "Conv", "us": 12.4, "share": 0.62}]
    found = {"nodes": nodes, "operators": {"Conv": 0.62, "Add": 0.38}, "multiply_adds": 1_500_000, "giga_ops_per_s": 10.0}
    shown = show_operators({"profile": found, "precision": precision}, {"fp32": 50, "int8": 200, "copy": 12}, name="x")
    assert shown["rows"] == [{"node": "a", "operator": "Conv", "µs": "12", "share, %": "62"}]
    assert (
        words in shown["note"]
        and "3.0 million operations a row: 10.0 billion a second" in shown["note"]
        and "Conv 62 %, Add 38 %" in shown["note"]
    )
