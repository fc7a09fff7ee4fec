"""Builds and runs engines in a process of their own, so that a crash in the vendor's library ends as an error here.

`python -m device.engine_worker REQUEST.json RESULT.json`: the request is {"action": name in ACTIONS, ...arguments},
the result {"ok": true, "value": ...} or {"ok": false, "error": text, "unavailable": bool}.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError
from .process import supervise_module
from .tensorrt import TensorRTSession, build, plan_key
from .vendor import TensorRTError, TensorRTUnavailable, require


def describe_flavour(flavour: str) -> dict[str, Any]:
    """{"flavour", "version", "gpu"} of what can build here; raises TensorRTUnavailable with the reason."""
    return _call({"action": "describe", "flavour": flavour}, what=f"{flavour}: start")


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    *,
    flavour: str,
    io_spec: dict[str, Any],
    opt_batch: int,
    workspace_mib: int = 1024,
    timing_cache: Path | None = None,
) -> dict[str, Any]:
    """Writes the engine and returns its facts (see `tensorrt.build`); raises TensorRTError."""
    request = {
        "action": "build",
        "onnx": str(onnx_path),
        "engine": str(engine_path),
        "flavour": flavour,
        "io_spec": io_spec,
        "opt_batch": opt_batch,
        "workspace_mib": workspace_mib,
        "timing_cache": str(timing_cache) if timing_cache else None,
    }
    return _call(request, what=f"{onnx_path.name}: building the {flavour} engine")


def find_key(onnx_path: Path, *, flavour: str, io_spec: dict[str, Any], opt_batch: int, workspace_mib: int = 1024) -> str:
    """The key that `build_engine` with these arguments would give here, without building."""
    request: dict[str, Any] = {"action": "key", "onnx": str(onnx_path), "flavour": flavour, "io_spec": io_spec}
    request.update(opt_batch=opt_batch, workspace_mib=workspace_mib)
    return _call(request, what=f"{onnx_path.name}: the {flavour} engine's key")


def run_engine(
    engine_path: Path,
    feeds: dict[str, np.ndarray],
    *,
    flavour: str,
    warmup: int = 0,
    rounds: int = 1,
    runtime_cache: Path | None = None,
) -> tuple[dict[str, np.ndarray], list[float]]:
    """The outputs of one batch and the latency of each round, ms, copies to and from the GPU included."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "feeds.npz"), Path(folder, "outputs.npz")
        np.savez(source, **feeds)  # type: ignore[arg-type]
        request: dict[str, Any] = {
            "action": "run",
            "engine": str(engine_path),
            "flavour": flavour,
            "feeds": str(source),
            "outputs": str(target),
        }
        request.update(warmup=warmup, rounds=rounds, runtime_cache=str(runtime_cache) if runtime_cache else None)
        latencies_ms = _call(request, what=f"{engine_path.name}: running the {flavour} engine")
        with np.load(target, allow_pickle=False) as outputs:
            return {name: outputs[name] for name in outputs.files}, latencies_ms


def _call(request: dict[str, Any], *, what: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "request.json"), Path(folder, "result.json")
        source.write_text(json.dumps(request))
        supervise_module(f"{__package__ or 'device.runtimes'}.engine_worker", [str(source), str(target)], what=what, error=TensorRTError)
        result = json.loads(target.read_text())
    if result["ok"]:
        return result["value"]
    kind = TensorRTUnavailable if result["unavailable"] else TensorRTError
    raise kind(f"{what}: {result['error']}")


def _describe(request: dict[str, Any]) -> dict[str, Any]:
    trt, gpu = require(request["flavour"])
    return {"flavour": request["flavour"], "version": trt.__version__, "gpu": gpu.name or None}


def _build(request: dict[str, Any]) -> dict[str, Any]:
    cache = request["timing_cache"]
    plan, info = build(
        Path(request["onnx"]),
        flavour=request["flavour"],
        io_spec=request["io_spec"],
        opt_batch=request["opt_batch"],
        workspace_mib=request["workspace_mib"],
        timing_cache=Path(cache) if cache else None,
    )
    target = Path(request["engine"])
    partial = target.with_name(target.name + ".partial")  # a killed worker leaves no half engine under the final name
    partial.write_bytes(plan)
    partial.replace(target)
    return info


def _key(request: dict[str, Any]) -> str:
    options = {name: request[name] for name in ("flavour", "io_spec", "opt_batch", "workspace_mib")}
    return plan_key(Path(request["onnx"]), **options)


def _run(request: dict[str, Any]) -> list[float]:
    cache = request["runtime_cache"]
    session = TensorRTSession(Path(request["engine"]), flavour=request["flavour"], runtime_cache=Path(cache) if cache else None)
    with np.load(request["feeds"], allow_pickle=False) as stored:
        feeds = {name: stored[name] for name in stored.files}
    for _ in range(request["warmup"]):
        session.run(feeds)
    latencies_ms = []
    for _ in range(request["rounds"]):
        start = time.perf_counter()
        outputs = session.run(feeds)
        latencies_ms.append((time.perf_counter() - start) * 1e3)
    np.savez(request["outputs"], **outputs)  # type: ignore[arg-type]
    session.close()
    return latencies_ms


ACTIONS = {"describe": _describe, "build": _build, "key": _key, "run": _run}


def main(argv: list[str]) -> int:
    """Carries out one request; errors of ours go into the result, others end the process with a traceback."""
    request = json.loads(Path(argv[0]).read_text())
    try:
        result: dict[str, Any] = {"ok": True, "value": ACTIONS[request["action"]](request)}
    except DeviceError as error:
        result = {"ok": False, "error": str(error), "unavailable": isinstance(error, TensorRTUnavailable)}
    Path(argv[1]).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
