"""Builds and runs TensorRT engines, `tensorrt` 10.3 to 11.x and `tensorrt_rtx` from 1.7.1 on, through one surface.

Networks are always strongly typed, so precision is what the ONNX says. `tensorrt` builds on the target GPU only;
`tensorrt_rtx` builds anywhere. Running needs a GPU. A fault in the vendor's library can end the process: call these
functions through `engine_worker`.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..gpu import GPU, DeviceMemory, probe_gpu
from .plan import read_int8
from .vendor import TensorRTError, TensorRTUnavailable, load, open_log, require, start


def make_profiles(io_spec: dict[str, Any], opt_batch: int) -> dict[str, dict[str, list[int]]]:
    """{input: {"min", "opt", "max"}: full shape with the batch first}, from io_spec.json."""
    if not 1 <= opt_batch <= io_spec["max_batch"]:
        raise TensorRTError(f"opt_batch {opt_batch}: io_spec allows batches of 1 to {io_spec['max_batch']}")
    sizes = {"min": 1, "opt": opt_batch, "max": io_spec["max_batch"]}
    return {port["name"]: {key: [size, *port["shape"]] for key, size in sizes.items()} for port in io_spec["inputs"]}


def engine_key(onnx_sha256: str, *, flavour: str, version: str, gpu: GPU, profiles: dict[str, Any], options: dict[str, Any]) -> str:
    """The identity of an engine, sha256 hex; plans are not byte-deterministic, so their own hash is none.

    A `tensorrt_rtx` engine built without a GPU has empty GPU fields: it is not bound to one.
    """
    identity = [onnx_sha256, flavour, version, gpu.name, gpu.sm, gpu.driver, profiles, options]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def plan_key(onnx_path: Path, *, flavour: str, io_spec: dict[str, Any], opt_batch: int, workspace_mib: int) -> str:
    """The key that `build` would give the engine of these arguments here: equal to a cached one, no build is needed."""
    trt, gpu = require(flavour)
    options, profiles = make_options(workspace_mib), make_profiles(io_spec, opt_batch)
    return engine_key(_sha256(onnx_path), flavour=flavour, version=trt.__version__, gpu=gpu, profiles=profiles, options=options)


def make_options(workspace_mib: int) -> dict[str, Any]:
    """The builder's options as they stand in the key and in engine.json."""
    return {"strongly_typed": True, "workspace_mib": workspace_mib, "profiling_verbosity": "DETAILED"}


def build(
    onnx_path: Path,
    *,
    flavour: str,
    io_spec: dict[str, Any],
    opt_batch: int,
    workspace_mib: int = 1024,
    timing_cache: Path | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """The engine and its facts: key, versions, profiles, options, hashes, sizes, seconds, layers and their types.

    `timing_cache` is read and rewritten by `tensorrt`; `tensorrt_rtx` times nothing at build time and ignores it.
    Raises TensorRTError with the parser's node names and messages, or TensorRTUnavailable.
    """
    trt, gpu = require(flavour)
    profiles, options = make_profiles(io_spec, opt_batch), make_options(workspace_mib)
    log = open_log(trt)
    builder = start(trt.Builder, log, what="builder")
    # The numbers of the flags moved between TensorRT 10 and 11: only the name is safe.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, log, onnx_path)
    _check_inputs(network, io_spec, onnx_path)
    config = _configure(trt, builder, profiles, workspace_mib, log=log)
    cache_path = timing_cache if flavour == "tensorrt" else None
    cache_state = _attach_timing_cache(config, cache_path)
    begin = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - begin
    if plan is None:
        raise TensorRTError(f"{onnx_path.name}: TensorRT could not build the engine: {log.summary()}")
    if cache_path is not None:
        timed = config.get_timing_cache()
        cache_path.write_bytes(bytes(timed.serialize()))
    blob = bytes(plan)
    info = {
        **_identify(onnx_path, blob, flavour=flavour, version=trt.__version__, gpu=gpu, profiles=profiles, options=options),
        "timing_cache": cache_state,
        "build_seconds": round(seconds, 3),
        "layers": _describe_layers(network),
        "int8": read_int8(blob) if flavour == "tensorrt_rtx" else None,
        "inspector": _inspect(trt, blob, log) if flavour == "tensorrt" else None,
        "warnings": log.warnings[:20],
    }
    return blob, info


class TensorRTSession:
    """An engine on this machine's GPU: `run(feeds) -> outputs`, both {name: array}, batches up to the profile's maximum.

    `runtime_cache` (tensorrt_rtx): kernels compiled at the first load are kept there for the next one.
    """

    def __init__(self, path: Path, *, flavour: str, runtime_cache: Path | None = None) -> None:
        gpu = probe_gpu()
        if not gpu.ok:  # trt.Runtime without a GPU hands back an object whose next call ends the process
            raise TensorRTUnavailable(f"{path.name}: a TensorRT engine runs on a GPU only: {gpu.reason}")
        trt = load(flavour)
        self._name, self._log, self._runtime_cache = path.name, open_log(trt), runtime_cache
        self.memory = DeviceMemory()
        self._runtime = start(trt.Runtime, self._log, what="runtime")
        blob = path.read_bytes()
        if flavour == "tensorrt_rtx":
            self._require_valid(trt, blob, gpu)
        self._engine = self._runtime.deserialize_cuda_engine(blob)
        if self._engine is None:
            raise TensorRTError(f"{path.name}: built for another GPU or TensorRT version: {self._log.summary()}. Build it again here.")
        self._cache: Any = None
        self._context: Any = self._make_context() if flavour == "tensorrt_rtx" else self._engine.create_execution_context()
        if self._context is None:
            raise TensorRTError(f"{path.name}: no execution context: {self._log.summary()}")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self._dtypes = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of one batch; copies to and from the device are part of the call."""
        if set(feeds) != set(self.inputs):
            raise TensorRTError(f"{self._name}: fed {sorted(feeds)}, takes {sorted(self.inputs)}")
        arrays = {name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in feeds.items()}
        for name, array in arrays.items():
            if not self._context.set_input_shape(name, tuple(array.shape)):
                low, _, high = self._engine.get_tensor_profile_shape(name, 0)
                raise TensorRTError(f"{self._name}: input {name} of shape {array.shape}; the engine takes {tuple(low)} to {tuple(high)}")
            self._bind(name, array.nbytes)
            self.memory.upload(name, array)
        if missing := self._context.infer_shapes():
            raise TensorRTError(f"{self._name}: shapes of {missing} are not known from the inputs")
        results = {name: np.empty(tuple(self._context.get_tensor_shape(name)), self._dtypes[name]) for name in self.outputs}
        for name, result in results.items():
            self._bind(name, result.nbytes)
        if not self._context.execute_async_v3(self.memory.stream):
            raise TensorRTError(f"{self._name}: execution failed: {self._log.summary()}")
        for name, result in results.items():
            self.memory.download(name, result)
        self.memory.wait()
        return results

    def close(self) -> None:
        """Writes the runtime cache and frees the device; TensorRT's objects go first, in the order they depend."""
        if self._cache is not None and self._runtime_cache is not None:
            self._runtime_cache.write_bytes(bytes(self._cache.serialize()))
        self._context = self._cache = self._engine = self._runtime = None
        self.memory.close()

    def _bind(self, name: str, size_bytes: int) -> None:
        if not self._context.set_tensor_address(name, self.memory.reserve(name, size_bytes)):
            raise TensorRTError(f"{self._name}: {name} could not be bound: {self._log.summary()}")

    def _require_valid(self, trt: Any, blob: bytes, gpu: GPU) -> None:
        validity, diagnostics = self._runtime.get_engine_validity(blob)
        if validity == trt.EngineValidity.INVALID:
            why = f"diagnostics {diagnostics}, {gpu.name} SM {gpu.sm}, driver {gpu.driver}, tensorrt_rtx {trt.__version__}"
            raise TensorRTError(f"{self._name}: not valid on this GPU: {why}. {self._log.summary()}")

    def _make_context(self) -> Any:
        runtime_config = self._engine.create_runtime_config()
        self._cache = runtime_config.create_runtime_cache()
        if self._runtime_cache is not None and self._runtime_cache.exists():
            self._cache.deserialize(self._runtime_cache.read_bytes())  # refused after an update: kernels are compiled anew
        runtime_config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(runtime_config)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _identify(
    onnx_path: Path, blob: bytes, *, flavour: str, version: str, gpu: GPU, profiles: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    onnx_sha256 = _sha256(onnx_path)
    return {
        "key": engine_key(onnx_sha256, flavour=flavour, version=version, gpu=gpu, profiles=profiles, options=options),
        "flavour": flavour,
        "version": version,
        "gpu": {"name": gpu.name, "sm": gpu.sm, "driver": gpu.driver} if gpu.ok else None,
        "profiles": profiles,
        "options": options,
        "onnx_sha256": onnx_sha256,
        "onnx_bytes": onnx_path.stat().st_size,
        "engine_sha256": hashlib.sha256(blob).hexdigest(),
        "engine_bytes": len(blob),
    }


def _parse(trt: Any, network: Any, log: Any, onnx_path: Path) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(onnx_path)):
        if network.num_layers == 0:  # protobuf takes an empty file, and some junk, for a model without a graph
            raise TensorRTError(f"{onnx_path.name}: not an ONNX file, or one without a graph")
        return
    faults = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [f"  node {fault.node_name()!r} ({fault.node_operator()}): {fault.desc()}" for fault in faults]
    raise TensorRTError(f"{onnx_path.name}: TensorRT does not take this ONNX:\n" + ("\n".join(lines) or f"  {log.summary()}"))


def _check_inputs(network: Any, io_spec: dict[str, Any], onnx_path: Path) -> None:
    """Without this, a name or shape that differs shows as a message about profiles at the end of the build."""
    expected = {port["name"]: (-1, *port["shape"]) for port in io_spec["inputs"]}
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    found = {tensor.name: tuple(tensor.shape) for tensor in tensors}
    if found != expected:
        raise TensorRTError(f"{onnx_path.name}: inputs are {found}, io_spec says {expected} (-1: the batch). Export with this io_spec.")


def _configure(trt: Any, builder: Any, profiles: dict[str, dict[str, list[int]]], workspace_mib: int, *, log: Any) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layer names in the plan: they prove what runs in int8
    profile = builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, tuple(shapes["min"]), tuple(shapes["opt"]), tuple(shapes["max"]))
    if config.add_optimization_profile(profile) < 0:
        raise TensorRTError(f"optimisation profile {profiles} refused: {log.summary()}")
    return config


def _attach_timing_cache(config: Any, path: Path | None) -> str | None:
    """How the cache file was used: "read", "new", "replaced" (of another GPU or version), or None without one."""
    if path is None:
        return None
    stored = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(stored)
    if cache is not None and config.set_timing_cache(cache, False):
        return "read" if stored else "new"
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return "replaced"


def _describe_layers(network: Any) -> dict[str, Any]:
    """The parsed network: count of layers by the type of their first output, and name, kind and types of each."""
    rows = []
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        tensors = [layer.get_output(index) for index in range(layer.num_outputs)]
        rows.append({"name": layer.name, "kind": layer.type.name, "dtypes": [tensor.dtype.name for tensor in tensors]})
    counts: dict[str, int] = {}
    for row in rows:
        first = row["dtypes"][0] if row["dtypes"] else "none"
        counts[first] = counts.get(first, 0) + 1
    return {"count": len(rows), "by_dtype": counts, "list": rows}


def _inspect(trt: Any, blob: bytes, log: Any) -> Any:
    """EngineInspector's JSON of the built engine: what was fused and in which type each kernel runs."""
    runtime = start(trt.Runtime, log, what="runtime")
    engine = runtime.deserialize_cuda_engine(blob)
    if engine is None:
        raise TensorRTError(f"the engine just built cannot be loaded: {log.summary()}")
    inspector = engine.create_engine_inspector()
    return json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
