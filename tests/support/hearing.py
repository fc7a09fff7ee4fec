"""A bundle for tests whose model hears: whether the mean of 100 samples is above or below zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.device.sessions import open_session
from compress.io_spec import IOSpec, Port
from compress.stages.bundle import write_bundle
from compress.tasks.task import task

RATE, LENGTH = 1000, 100
LABELS = ["up", "down"]


def write_sound_bundle(folder: Path) -> Path:
    """The bundle, in that folder."""
    nodes = [
        helper.make_node("Cast", ["audio"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    constants = {"axes": np.array([1]), "weight": np.float32([[1e-3, -1e-3]])}
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("audio", TensorProto.INT32, ["batch", LENGTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "fp32.onnx")
    golden = {"audio": np.random.default_rng(0).integers(-999, 999, (4, LENGTH)).astype(np.int32)}
    golden["logits"] = open_session(folder / "fp32.onnx").run(golden)["logits"]
    golden["labels"] = golden["logits"].argmax(-1)
    port = Port("audio", "int32", (LENGTH,), -32768, 32767, reading={"rate": RATE})
    write_bundle(
        folder / "bundle",
        models={"fp32": folder / "fp32.onnx"},
        chosen="fp32",
        io_spec=IOSpec((port,), (Port("logits", "float32", (2,)),), max_batch=2),
        task=task("single_label"),
        labels=LABELS,
        assets=[],
        recipe_yaml="name: windows\n",
        summary={"name": "windows"},
        licences=[],
        golden=golden,
        engine=None,
    )
    return folder / "bundle"
