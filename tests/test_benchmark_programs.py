"""Programs in benchmarks/ that plant faults and that bring big teachers: what they count, and the tables they make of it."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.graphs.graph import Graph
from compress.graphs.trace import run_model


def linear() -> onnx.ModelProto:
    """x (B, 2) to x * scale."""
    node = helper.make_node("Mul", ["x", "scale"], ["logits"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("x", "logits")]
    graph = helper.make_graph([node], "linear", ports[:1], ports[1:], [numpy_helper.from_array(np.ones(2, np.float32), "scale")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def double(graph: Graph, by: float) -> None:
    graph.proto.initializer[0].CopyFrom(numpy_helper.from_array(np.full(2, by, np.float32), "scale"))


def test_planted_faults_are_counted_and_those_that_pass_say_how_far_they_moved(program: Any) -> None:
    feeds = {"x": np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)}
    hop = SimpleNamespace(kind="fp32", graph=linear(), feeds=feeds, optimise=True, doubt=0.0, layers=lambda graph: [])
    hop.expected = run_model(hop.graph, feeds)["logits"]

    def scaled(graph: Graph) -> list:
        return [partial(double, by=by) for by in (2.0, 1 + 1e-6, 3.0, 4.0, 5.0, 6.0)]  # at 0, 2, 3 and 5, of which the gate sees all

    def hardly(graph: Graph) -> list:
        return [partial(double, by=1 + 1e-5)]

    known = SimpleNamespace(hops=lambda *student: {"fp32": hop}, FAULTS=[scaled, hardly, lambda graph: []])
    first, second = program("gate").plant(known, (2, 4))
    assert (first["planted"], first["missed"], first["fault"]) == (4, [], "scaled")
    assert second["planted"] == 1
    assert [round(miss["moved"], 6) for miss in second["missed"]] == [1e-5]


def test_table_of_the_gate_has_the_worst_of_each_hop_beside_its_limit(program: Any) -> None:
    none = {"objection": "", "distance": None, "bias": None, "layer": None, "steps": None}
    sound = [{**none, "student": "a", "hop": "fp16", "distance": 0.001}, {**none, "student": "b", "hop": "fp16", "distance": 0.004}]
    planted = [{"student": [2, 4], "hop": "fp16", "fault": "x", "planted": 4, "missed": [{"place": 1, "moved": 0.002}]}]
    origin = {"device": {"name": "a CPU", "cores": 2}, "threads": 1, "git_commit": None, "git_clean": True}
    table = program("gate").table({**origin, "versions": {"onnxruntime": "1"}, "sound": sound, "planted": planted})
    assert "| fp32 -> fp16 | 2 of 2 | 0.004 (0.01) | - | - | - | 3 of 4 |" in table
    assert "2 students. Of all faults 3 of 4 were caught; those that were not moved the logits by at most 0.2 %" in table


def test_table_of_big_teachers_has_a_column_each(program: Any) -> None:
    origin = {"device": {"name": "a CPU", "cores": 2}, "threads": 1, "git_commit": None, "git_clean": True, "versions": {"torch": "2"}}
    run = {"seconds": 100.4, "cpu_seconds": 60.0, "silence_s": 29.0}
    one = {**origin, "teacher": "vilt", "parameters": 112_800_000, "run": run, "stages": {"data": {"seconds": 2.0, "peak_bytes": 5e8}}}
    other = {**one, "teacher": "vit", "stages": {"export": {"seconds": 3.0, "peak_bytes": None}}}
    lines = program("big_teachers").table([one, other]).splitlines()
    assert lines[0].endswith("| vilt, 112.8 M | vit, 112.8 M |")
    assert lines[2:7] == [
        "| data | 2.0, 0.50 | - |",
        "| export | - | 3.0, - |",
        "| the whole run | 100 | 100 |",
        "| the whole run, seconds of processor time | 60 | 60 |",
        "| longest silence | 29 | 29 |",
    ]


def test_table_of_the_loop_has_a_line_for_each_loss(program: Any) -> None:
    ratio = {"value": 1.01, "low": 0.99, "high": 1.034}
    origin = {"device": {"name": "a CPU", "cores": 2}, "threads": 1, "git_commit": None, "git_clean": True, "versions": {"torch": "2"}}
    loop = program("loop")
    one = {"loop_over_hand": {**ratio, "hand_ms": 21.4}, "losses": dict.fromkeys([name for name in loop.LOSSES if name != "labels"], ratio)}
    lines = loop.table({**origin, "students": {"image": one, "text": one}}).splitlines()
    assert lines[0] == "| median of paired ratios (95 % interval) | image, 21 ms by hand | text, 21 ms by hand |"
    assert lines[2] == "| a turn of the loop, over a step by hand | 1.010 (0.990 to 1.034) | 1.010 (0.990 to 1.034) |"
    assert len(lines) == 2 + len(loop.LOSSES) + 2


def test_steps_by_hand_and_of_the_loop_train_the_same_student(program: Any, tmp_path: Any, monkeypatch: Any) -> None:
    loop = program("loop")
    for name, few in (("ROWS", 128), ("BATCH", 8)):
        monkeypatch.setattr(loop, name, few)
    rows = loop.draw_rows("text", tmp_path)
    over = loop.loop_over_hand("text", rows, tmp_path, steps=24)
    assert over["rounds"] == 3 and over["value"] > 0 and over["hand_ms"] > 0
    for losses in loop.LOSSES.values():
        loop.loop_step("text", rows, losses)()
