"""Runs a graph exactly as it is written (no optimisation) and hands back intermediate tensors as well as outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states

from compress.device.sessions import keep_products_exact
from compress.errors import CompressError
from compress.graphs.graph import Graph

REFUSALS = tuple(kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, Exception))
Feeds = dict[str, np.ndarray]


def load_model(model: onnx.ModelProto | Path | str) -> onnx.ModelProto:
    """The model itself, or the one in that file."""
    return model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))


def cpu_options(*, threads: int = 1, optimise: bool = True) -> ort.SessionOptions:
    """Session options on the CPU; int8 products are exact on every x86."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    keep_products_exact(options)
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    return options


def open_cpu(model: onnx.ModelProto | Path | str, options: ort.SessionOptions) -> ort.InferenceSession:
    """A session on the CPU; raises CompressError with ONNX Runtime's own words where it refuses the model."""
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except REFUSALS as error:
        name = model.graph.name if isinstance(model, onnx.ModelProto) else model
        raise CompressError(f"{name}: ONNX Runtime refuses the graph: {error}. Check the file with onnx.checker.") from error


def run_model(model: onnx.ModelProto | Path | str, feeds: Feeds, *, optimise: bool = True, threads: int = 1) -> Feeds:
    """The graph's outputs by name, on the CPU; raises CompressError with ONNX Runtime's own words where it refuses or fails."""
    session = open_cpu(model, cpu_options(threads=threads, optimise=optimise))
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except REFUSALS as error:
        raise CompressError(f"ONNX Runtime fails while it runs the graph: {str(error).splitlines()[0]}") from error


def trace(model: onnx.ModelProto, feeds: Feeds, *, tensors: list[str] | None = None) -> Feeds:
    """The values of the named tensors (None: of every node's outputs) by name, without optimisation; constants included."""
    graph = Graph.copy_of(model)
    wanted = list(dict.fromkeys(tensors if tensors is not None else graph.producers))
    given = {name: feeds[name] for name in wanted if name in feeds}
    given |= {name: value for name in wanted if name not in given and (value := graph.value(name)) is not None}
    computed = [name for name in wanted if name not in given]
    outputs = set(graph.output_names)
    graph.proto.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in outputs)
    values = run_model(graph.model, feeds, optimise=False)
    return {name: given[name] if name in given else values[name] for name in wanted}
