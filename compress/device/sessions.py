"""`SESSIONS`: the runtimes that can run a bundle's ONNX file, each opened by one function; what cannot run here is refused first.

Every session has the same form: `session.inputs` and `session.outputs` name the ports, `session.run(feeds)` gives the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DeviceError
from .feeds import first_line
from .gpu import missing_gpu
from .info import has_vnni

PROVIDERS = {
    "onnxruntime_cpu": "CPUExecutionProvider",
    "onnxruntime_cuda": "CUDAExecutionProvider",
    "onnxruntime_tensorrt": "TensorrtExecutionProvider",
}
REENTRANT = ("onnxruntime_cpu", "onnxruntime_cuda")  # one session answers several threads at once; the others hold one call's state
ON_CPU = ("onnxruntime_cpu", "openvino", "litert")
MODULES = {"litert": "ai_edge_litert"}  # of the runtimes whose package has another name
BATCHES = (1, 8, 32)  # smallest, tuned and largest batch of an engine that ONNX Runtime's TensorRT provider builds


class Session:
    """One ONNX file opened in one runtime."""

    def __init__(self, session: Any, *, errors: tuple[type[Exception], ...], path: Path) -> None:
        self.inputs: list[str] = [port.name for port in session.get_inputs()]
        self.outputs: list[str] = [port.name for port in session.get_outputs()]
        self._session, self._path = session, path
        self._errors: tuple[type[Exception], ...] = (*errors, ValueError)  # ValueError: a missing input

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, first axis the batch; raises DeviceError when the runtime refuses the feeds."""
        try:
            return dict(zip(self.outputs, self._session.run(self.outputs, feeds)))
        except self._errors as error:
            raise DeviceError(f"{self._path}: the model did not run: {first_line(error)}") from error


def open_session(path: Path, *, runtime: str = "onnxruntime_cpu", threads: int = 1) -> Session:
    """The model in `path`, ready to run with `threads` threads on the CPU.

    Raises DeviceError for an unknown runtime, one that cannot run here (with the reason), or a file that it cannot read.
    """
    if runtime not in SESSIONS:
        raise DeviceError(f"unknown runtime {runtime!r}; known: {', '.join(SESSIONS)}")
    if threads < 1:
        raise DeviceError(f"threads is {threads}; give at least 1")
    if not path.is_file():
        raise DeviceError(f"{path}: no such model file")
    reason = refusal(runtime)
    if reason:
        raise DeviceError(f"runtime {runtime} cannot run here: {reason}")
    return SESSIONS[runtime](path, runtime, threads)


def refusal(runtime: str) -> str | None:
    """Why `runtime` cannot run on this machine, or None; asks the driver before any vendor library that would crash without a GPU."""
    if runtime not in ON_CPU:
        reason = missing_gpu()
        if reason:
            return reason
    if runtime in PROVIDERS:
        return _missing_provider(PROVIDERS[runtime])
    return _missing_module(MODULES.get(runtime, runtime))


def runtime_version(runtime: str) -> str:
    """Name and version of the library behind an available runtime, such as `onnxruntime 1.23.0`."""
    import importlib

    name = "onnxruntime" if runtime in PROVIDERS else MODULES.get(runtime, runtime)
    return f"{name} {importlib.import_module(name).__version__.split('-')[0]}"  # openvino's goes on with its build


def _open_onnxruntime(path: Path, runtime: str, threads: int) -> Session:
    provider = PROVIDERS[runtime]
    providers: list[Any] = [provider]
    if runtime == "onnxruntime_tensorrt":
        providers = [(provider, _tensorrt_options(path, threads))]
    if runtime != "onnxruntime_cpu":
        providers.append("CPUExecutionProvider")  # for the few shape operators that have no GPU kernel
    session = _create(path, providers, threads=threads)
    if session.get_providers()[0] != provider:  # ONNX Runtime goes on with the CPU when a provider's libraries do not load
        raise DeviceError(f"runtime {runtime} cannot run here: {provider} did not load; check its CUDA and TensorRT libraries")
    return Session(session, errors=_onnxruntime_errors(), path=path)


def _create(path: Path, providers: list[Any], *, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    keep_products_exact(options)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _onnxruntime_errors() as error:
        raise DeviceError(f"{path}: ONNX Runtime {onnxruntime.__version__} cannot open the model: {first_line(error)}") from error


def keep_products_exact(options: Any) -> None:
    """Has ONNX Runtime add uint8 x int8 products in 32 bits: x86 without VNNI adds two in 16 bits and saturates, in silence.

    With VNNI they are exact anyway, and there the setting would cost a fifth of the speed or more.
    """
    if not has_vnni():
        options.add_session_config_entry("session.x64quantprecision", "1")


def _tensorrt_options(path: Path, threads: int) -> dict[str, Any]:
    """Explicit batch profiles, so that a new batch size does not build a new engine, and a cache beside the model."""
    ports = _create(path, ["CPUExecutionProvider"], threads=threads).get_inputs()
    options: dict[str, Any] = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(path.parent / "engines")}
    # without a calibration table the int8 flag is right only for graphs that carry their own scales
    options["trt_int8_enable"] = b"QuantizeLinear" in path.read_bytes()
    for name, batch in zip(("min", "opt", "max"), BATCHES):
        shapes = [f"{port.name}:{'x'.join(str(size) for size in (batch, *port.shape[1:]))}" for port in ports]
        options[f"trt_profile_{name}_shapes"] = ",".join(shapes)
    return options


def _open_tensorrt(path: Path, runtime: str, threads: int) -> Any:
    if path.suffix != ".engine":
        raise DeviceError(f"{path}: runtime {runtime} runs engines and no {path.suffix or 'other'} files; build one with build-engine")
    from .runtimes.tensorrt import TensorRTSession

    return TensorRTSession(path, flavour=runtime)


def _open_openvino(path: Path, runtime: str, threads: int) -> Any:
    from .runtimes.openvino import OpenVINOSession

    return OpenVINOSession(path, threads)


def _open_litert(path: Path, runtime: str, threads: int) -> Any:
    if path.suffix != ".tflite":
        raise DeviceError(
            f"{path}: runtime litert runs .tflite files and no {path.suffix or 'other'} ones; export.mobile: [litert] writes one"
        )
    from .runtimes.litert import LiteRTSession

    return LiteRTSession(path, threads)


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, *own)  # pybind's own RuntimeError comes where a C++ exception has no class of its own


def _missing_provider(provider: str) -> str | None:
    try:
        import onnxruntime
    except ImportError as error:
        return f"the package onnxruntime is not installed ({error}); pip install onnxruntime"
    available = onnxruntime.get_available_providers()
    if provider not in available:
        return f"this ONNX Runtime has {', '.join(available)} and not {provider}; install onnxruntime-gpu"
    return None


def _missing_module(name: str) -> str | None:
    from importlib.util import find_spec

    return None if find_spec(name) else f"the package {name} is not installed; pip install {name.replace('_', '-')}"


SESSIONS: dict[str, Callable[[Path, str, int], Any]] = {
    "onnxruntime_cpu": _open_onnxruntime,
    "onnxruntime_cuda": _open_onnxruntime,
    "onnxruntime_tensorrt": _open_onnxruntime,
    "openvino": _open_openvino,
    "litert": _open_litert,
    "tensorrt": _open_tensorrt,
    "tensorrt_rtx": _open_tensorrt,
}
