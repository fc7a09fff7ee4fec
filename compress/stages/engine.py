"""ONNX files -> TensorRT engines and engine.json: profiles, options, hashes, sizes, layer types, what stayed int8.

Each file passes the exporter's contract first; the build runs in a process of its own (device/engine_worker.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compress.context import Context
from compress.device.runtimes.engine_worker import build_engine, describe_flavour
from compress.device.runtimes.tensorrt import make_options, make_profiles
from compress.device.runtimes.vendor import TensorRTError, TensorRTUnavailable
from compress.errors import EngineError
from compress.io_spec import IOSpec
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Engine
from compress.store.artifacts import Engines, OnnxModels

SUFFIXES = {"tensorrt_rtx": ".rtx.engine", "tensorrt": ".engine"}
MEASURE = "--useCudaGraph --useSpinWait --warmUp=500 --duration=10"
SUMMARY = ("key", "onnx_sha256", "onnx_bytes", "engine_sha256", "engine_bytes", "build_seconds", "timing_cache", "warnings")


def engine(recipe: Recipe, onnx: OnnxModels, *, ctx: Context) -> Engines:
    """Engines of the student's fp32, fp16 and TensorRT int8 files, or why there are none here.

    A run that has come this far comes to its end: where the int8 file for TensorRT was left out, or an engine that is not required fails,
    the reason is noted instead.
    """
    assert onnx.io_spec and recipe.engine
    names = {name: name for name in ("fp32", "fp16") if name in onnx.details["files"]}
    for name, entry in onnx.details["files"].items():
        if entry.get("target") == "tensorrt":
            names["int8"] = name  # the trained one comes after the calibrated one, and wins
    models = {short: onnx.file(onnx.details["files"][name]["file"]) for short, name in names.items()}
    if missing := onnx.details["unserved"].get("tensorrt"):
        return Engines(
            io_spec=onnx.io_spec, details=_skip(ctx, {"flavour": recipe.engine.flavour}, f"no int8 file is left for TensorRT: {missing}")
        )
    try:
        details = build_engines(recipe.engine, models, io_spec=onnx.io_spec, out=ctx.out, say=ctx.say)
    except EngineError as error:
        if recipe.engine.required:
            raise
        details = _skip(ctx, {"flavour": recipe.engine.flavour}, str(error))
    return Engines(io_spec=onnx.io_spec, details=details)


def _skip(ctx: Context, record: dict[str, Any], reason: str) -> dict[str, Any]:
    ctx.say(f"engine: skipped, {reason}")
    return _write(ctx.out, {**record, "status": "skipped", "reason": reason})


def build_engines(
    config: Engine, models: dict[str, Path], *, io_spec: IOSpec, out: Path, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Writes one engine a model (`int8.rtx.engine`, or `int8.engine`) and engine.json into `out`; returns its content.

    `models`: {"fp32", "fp16" or "int8": ONNX file}. Where the flavour cannot build here, status is "skipped" with the
    reason, unless `config.required`. Raises EngineError: required but unavailable, contract broken, refused by the
    parser, failed, crashed, or less int8 in the engine than in its ONNX.
    """
    # The contract is checked even where nothing can be built: a file that breaks it is a fault of the export.
    promised = {name: _check_contract(name, path) for name, path in models.items()}
    record = _instructions(config, models, io_spec)
    try:
        tool = describe_flavour(config.flavour)
    except TensorRTUnavailable as error:
        if config.required:
            raise EngineError(f"engine.required is set: {error}") from error
        say(f"engine: skipped, {error}")
        return _write(out, {**record, "status": "skipped", "reason": str(error)})
    except TensorRTError as error:
        raise EngineError(str(error)) from error
    engines = {}
    for name, path in models.items():
        engines[name] = _build_one(config, name, path, io_spec=io_spec, promised=promised[name], out=out)
        say(_describe(config.flavour, name, engines[name]))
    return _write(out, {**record, "status": "built", "version": tool["version"], "gpu": tool["gpu"], "engines": engines})


def list_int8_layers(path: Path) -> list[str]:
    """The Conv, Gemm and MatMul nodes of an ONNX file whose weight is int8 behind a DequantizeLinear, as TensorRT names them."""
    import onnx

    from compress.graphs.contract import weight_readers
    from compress.graphs.graph import Graph

    graph = Graph(onnx.load(path))
    found = set()
    for node in graph.proto.node:
        if node.op_type != "DequantizeLinear" or not _is_stored_int8(graph, node):
            continue
        for reader, index, _ in weight_readers(graph, node):
            if index == 1 and reader.op_type in ("Conv", "Gemm", "MatMul"):
                found.add(reader.name or f"node_of_{reader.output[0]}")
    return sorted(found)


def trtexec_lines(name: str, *, profiles: dict[str, dict[str, list[int]]], workspace_mib: int) -> dict[str, str]:
    """The commands that build and measure `<name>.onnx` with NVIDIA's own tool, for TensorRT 10 and 11."""
    shapes = []
    for key in ("min", "opt", "max"):
        ports = ",".join(f"{port}:{'x'.join(map(str, sizes[key]))}" for port, sizes in profiles.items())
        shapes.append(f"--{key}Shapes={ports}")
    files = f"trtexec --onnx={name}.onnx --saveEngine={name}.engine"
    rest = f"{' '.join(shapes)} --memPoolSize=workspace:{workspace_mib} --timingCacheFile=timing.cache"
    measured = ",".join(f"{port}:{'x'.join(map(str, sizes['min']))}" for port, sizes in profiles.items())
    return {
        "tensorrt_10": f"{files} --stronglyTyped {rest}",
        "tensorrt_11": f"{files} {rest}",  # 11 knows no other mode and refuses the flag
        "measure": f"trtexec --loadEngine={name}.engine --shapes={measured} {MEASURE} --exportTimes={name}.times.json",
    }


def _check_contract(name: str, path: Path) -> list[str]:
    import onnx

    from compress.graphs.contract import require_tensorrt

    require_tensorrt(onnx.load(path), name=f"{name} ({path.name})")
    return list_int8_layers(path)


def _is_stored_int8(graph: Any, node: Any) -> bool:
    """Whether the DequantizeLinear reads int8 constants, or a float constant through a QuantizeLinear."""
    maker = graph.producer(node.input[0], op_type="QuantizeLinear")
    if maker is not None:
        return graph.value(maker.input[0]) is not None
    codes = graph.value(node.input[0])
    return codes is not None and codes.dtype == "int8"


def _instructions(config: Engine, models: dict[str, Path], io_spec: IOSpec) -> dict[str, Any]:
    try:
        profiles = make_profiles(io_spec.to_json(), config.opt_batch)
    except TensorRTError as error:
        raise EngineError(f"engine.opt_batch: {error}") from error
    lines = {name: trtexec_lines(name, profiles=profiles, workspace_mib=config.workspace_mib) for name in models}
    return {"flavour": config.flavour, "profiles": profiles, "options": make_options(config.workspace_mib), "trtexec": lines}


def _build_one(config: Engine, name: str, path: Path, *, io_spec: IOSpec, promised: list[str], out: Path) -> dict[str, Any]:
    target = out / f"{name}{SUFFIXES[config.flavour]}"
    try:
        info = build_engine(
            path,
            target,
            flavour=config.flavour,
            io_spec=io_spec.to_json(),
            opt_batch=config.opt_batch,
            workspace_mib=config.workspace_mib,
            timing_cache=out / "timing.cache" if config.flavour == "tensorrt" else None,
        )
    except TensorRTError as error:
        raise EngineError(f"{name}: {error}") from error
    (out / f"{name}.layers.json").write_text(json.dumps({"network": info["layers"]["list"], "engine": info["inspector"]}, indent=1))
    layers = {"count": info["layers"]["count"], "by_dtype": info["layers"]["by_dtype"]}
    return {
        "file": target.name,
        **{key: info[key] for key in SUMMARY},
        "layers": layers,
        "int8": _compare_int8(name, info["int8"], promised),
    }


def _compare_int8(name: str, plan: dict[str, Any] | None, promised: list[str]) -> dict[str, Any]:
    """What the ONNX promises against what the engine keeps; `kept` None: this flavour's plan does not tell."""
    if plan is None:
        return {"promised": promised, "kept": None, "share": None, "weights": None}
    kept = sorted(set(promised) & set(plan["layers"]))
    if lost := sorted(set(promised) - set(kept)):
        raise EngineError(
            f"{name}: {len(lost)} of {len(promised)} int8 layers are not int8 in the engine: {', '.join(lost[:8])}. "
            "Check the quantization of their inputs, or name them in quantize.keep_float."
        )
    share = len(kept) / len(promised) if promised else None
    return {"promised": promised, "kept": kept, "share": share, "weights": plan["weights"]}


def _describe(flavour: str, name: str, engine: dict[str, Any]) -> str:
    sizes = f"{engine['engine_bytes'] / 1e6:.2f} MB from {engine['onnx_bytes'] / 1e6:.2f} MB of ONNX"
    promised, kept = engine["int8"]["promised"], engine["int8"]["kept"]
    int8 = f", {len(kept)} of {len(promised)} int8 layers kept" if promised and kept is not None else ""
    return f"engine: {name} for {flavour}, {sizes}, {engine['build_seconds']:.1f} s{int8}"


def _write(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    (out / "engine.json").write_text(json.dumps(record, indent=1) + "\n")
    return record
