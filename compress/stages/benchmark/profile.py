"""Where the time of a file goes: its costliest nodes by the runtime's own profile, and how near it comes to what this machine can do."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.graphs.coverage import int8_coverage
from compress.graphs.trace import Feeds, cpu_options, open_cpu

CALLS, WARMUP = 30, 5
MOST_S = 2.0  # seconds that the profiled calls of one file may take
COSTLIEST = 5
SIDE = 768  # of the square matrices whose product is the peak
COPIED = 64_000_000  # bytes: more than the caches hold
SUFFIX = "_kernel_time"  # of the profile's events that are a node at work


def profile(path: Path, feeds: Feeds, *, threads: int, median_ms: float) -> dict[str, Any]:
    """{nodes, operators, multiply_adds, giga_ops_per_s} of one call with these feeds (batch 1).

    nodes: the COSTLIEST ones, [{node, operator, us, share}], each the median over the calls, share of the sum over all nodes; operators:
    {operator: share}, all of them. giga_ops_per_s: 2 * multiply_adds / median_ms, what is attained; the profile itself slows the calls
    down and is not used for it."""
    durations = _profiled(path, feeds, threads=threads)
    medians = {key: float(np.median(found)) for key, found in durations.items()}
    total = sum(medians.values()) or 1.0
    order = sorted(medians, key=lambda key: -medians[key])
    operators: dict[str, float] = {}
    for node, operator in order:
        operators[operator] = operators.get(operator, 0.0) + medians[node, operator] / total
    multiply_adds = int8_coverage(path, threads=threads).multiply_adds
    return {
        "nodes": [{"node": n, "operator": o, "us": medians[n, o], "share": medians[n, o] / total} for n, o in order[:COSTLIEST]],
        "operators": dict(sorted(operators.items(), key=lambda item: -item[1])),
        "multiply_adds": multiply_adds,
        "giga_ops_per_s": 2 * multiply_adds / median_ms / 1e6,
    }


def _profiled(path: Path, feeds: Feeds, *, threads: int) -> dict[tuple[str, str], list[float]]:
    """{(node, operator): microseconds of each call}."""
    with tempfile.TemporaryDirectory() as folder:
        options = cpu_options(threads=threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_cpu(path, options)
        names = [port.name for port in session.get_inputs()]
        begun = time.perf_counter()
        for number in range(CALLS + WARMUP):
            session.run(None, {name: feeds[name] for name in names})
            if number >= WARMUP and time.perf_counter() - begun > MOST_S:
                break
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(SUFFIX):
            found.setdefault((event["name"].removesuffix(SUFFIX), event["args"]["op_name"]), []).append(event["dur"])
    return {key: calls[min(WARMUP, len(calls) - 1) :] for key, calls in found.items()}


def measure_peaks(*, threads: int) -> dict[str, float]:
    """{fp32, int8} in 10^9 operations a second (two a multiply-add) of a large product of matrices in ONNX Runtime, and `copy`, 10^9 bytes read or
    written a second by one thread: the fastest of several runs each."""
    draw = np.random.default_rng(0)
    floats = draw.standard_normal((SIDE, SIDE)).astype(np.float32)
    codes = draw.integers(-127, 128, (SIDE, SIDE)).astype(np.int8)
    source = np.zeros(COPIED // 8)
    target = np.empty_like(source)
    operations = 2 * SIDE**3
    return {
        "fp32": operations / _fastest(_product("MatMul", floats, np.float32, threads)) / 1e9,
        "int8": operations / _fastest(_product("MatMulInteger", codes, np.uint8, threads)) / 1e9,
        "copy": 2 * COPIED / _fastest(lambda: np.copyto(target, source)) / 1e9,
    }


def _product(operator: str, right: np.ndarray, left: type, threads: int) -> Callable[[], object]:
    given = helper.np_dtype_to_tensor_dtype(np.dtype(left))
    answer = TensorProto.FLOAT if left is np.float32 else TensorProto.INT32
    port, result = (helper.make_tensor_value_info(name, kind, [SIDE, SIDE]) for name, kind in (("x", given), ("y", answer)))
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])], "peak", [port], [result], [numpy_helper.from_array(right, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    session = open_cpu(model, cpu_options(threads=threads))
    x: np.ndarray = np.ones((SIDE, SIDE), left)
    return lambda: session.run(None, {"x": x})


def _fastest(call: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(8):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)
