"""The vendor's TensorRT modules: import, version check, logger and start, so that what fails gives a reason and no crash."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

from ..errors import DeviceError
from ..gpu import GPU, probe_gpu

FLAVOURS = {"tensorrt": ((10, 3, 0), (12, 0, 0)), "tensorrt_rtx": ((1, 7, 1), (2, 0, 0))}  # [from, to)
HINTS = {
    "tensorrt": "Install JetPack's TensorRT, or 'pip install tensorrt-cu12' from NVIDIA's package index.",
    "tensorrt_rtx": "pip install 'tensorrt-rtx>=1.7.1'.",
}


class TensorRTError(DeviceError):
    """TensorRT refused a file, failed while building or running, or crashed."""

    exit_code = 8


class TensorRTUnavailable(TensorRTError):
    """The flavour is not installed, too old, or needs a GPU that is not there."""


def load(flavour: str) -> Any:
    """The vendor's module, imported and of a version that this file was written for."""
    if flavour not in FLAVOURS:
        raise TensorRTError(f"TensorRT flavour {flavour!r}: known are {', '.join(sorted(FLAVOURS))}")
    try:
        trt = importlib.import_module(flavour)
    except ImportError as error:  # the package, or a shared library behind it
        raise TensorRTUnavailable(f"{flavour} cannot be imported: {error}. {HINTS[flavour]}") from error
    first, end = FLAVOURS[flavour]
    if not first <= _numbers(trt.__version__) < end:
        taken = f"{'.'.join(map(str, first))} to below {end[0]}"
        why = "; older ones refuse int8 convolutions" if flavour == "tensorrt_rtx" else ""
        raise TensorRTUnavailable(f"{flavour} {trt.__version__}: versions {taken} are supported{why}. {HINTS[flavour]}")
    return trt


def require(flavour: str) -> tuple[Any, GPU]:
    """The module and the GPU, ready to build; raises TensorRTUnavailable before any call that could crash."""
    gpu = probe_gpu()
    trt = load(flavour)
    if flavour == "tensorrt" and not gpu.ok:
        raise TensorRTUnavailable(f"a TensorRT engine must be built on the target GPU: {gpu.reason}")
    return trt, gpu


def open_log(trt: Any) -> Any:
    """The process's logger for TensorRT, emptied: `errors` and `warnings` are lists, `summary()` joins the errors."""
    log = _make_log(trt)
    log.errors.clear()
    log.warnings.clear()
    return log


def start(factory: Any, log: Any, *, what: str) -> Any:
    """A Builder or Runtime; raises TensorRTUnavailable with the log where the vendor gives none or a broken one."""
    try:
        started = factory(log)
    except TypeError as error:  # pybind11: the factory returned nullptr
        raise TensorRTUnavailable(f"TensorRT's {what} did not start: {log.summary()} ({error})") from error
    if log.errors:  # from 10.15 on a broken runtime is returned; calling it would end the process
        raise TensorRTUnavailable(f"TensorRT's {what} did not start: {log.summary()}")
    return started


@cache
def _make_log(trt: Any) -> Any:
    """One a process: TensorRT keeps the first logger it was given and ignores later ones."""

    class Log(trt.ILogger):  # type: ignore[name-defined]
        """Keeps messages; the vendor's own logger prints them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding fails in the middle of a build without this call
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:  # INTERNAL_ERROR is below ERROR
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)

        def summary(self) -> str:
            return "; ".join(self.errors) or "no message"

    return Log()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
