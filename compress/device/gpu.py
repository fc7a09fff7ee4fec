"""The NVIDIA driver through ctypes: what GPU is there (`probe_gpu`), and memory and a stream on it (`DeviceMemory`).

With no GPU, parts of TensorRT crash the process instead of raising, so `probe_gpu` runs before any call that needs one.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DeviceError

LIBRARY = "libcuda.so.1"
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True)
class GPU:
    """Device 0 as the driver describes it; `ok` is False with a reason where TensorRT must not be called."""

    ok: bool
    reason: str
    count: int = 0
    name: str = ""
    sm: str = ""  # compute capability without the dot: "87" is Orin
    driver: str = ""  # newest CUDA version that the driver serves, such as "12.6"


def probe_gpu(library: str = LIBRARY) -> GPU:
    """The first GPU, or why there is none; never raises."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return GPU(False, f"no NVIDIA driver ({library} not found)")
    count = ctypes.c_int()
    try:
        code = cuda.cuInit(0)
        if code:
            return GPU(False, f"driver present but no usable GPU (cuInit -> {code})")
        code = cuda.cuDeviceGetCount(ctypes.byref(count))
        if code or count.value < 1:
            return GPU(False, f"driver present but no usable GPU (cuDeviceGetCount -> {code}, {count.value} devices)")
        return _describe(cuda, count.value)
    except (DeviceError, AttributeError) as error:  # AttributeError: a library of that name without the driver's functions
        return GPU(False, f"driver present but no usable GPU ({error})", count.value)


def missing_gpu(library: str = LIBRARY) -> str | None:
    """None where there is a usable GPU, otherwise the reason as half a sentence."""
    gpu = probe_gpu(library)
    return None if gpu.ok else gpu.reason


def _describe(cuda: Any, count: int) -> GPU:
    device, version, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    _check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _check(cuda.cuDeviceGetName(name, len(name), device), "cuDeviceGetName")
    _check(cuda.cuDeviceGetAttribute(ctypes.byref(major), COMPUTE_CAPABILITY_MAJOR, device), "cuDeviceGetAttribute")
    _check(cuda.cuDeviceGetAttribute(ctypes.byref(minor), COMPUTE_CAPABILITY_MINOR, device), "cuDeviceGetAttribute")
    _check(cuda.cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"  # 12060 is 12.6
    text = name.value.decode("utf-8", "replace")
    return GPU(True, f"{count} CUDA device(s), the first is {text}", count, text, f"{major.value}{minor.value}", driver)


def _check(code: int, call: str) -> None:
    if code:
        raise DeviceError(f"{call} -> {code}")


class DeviceMemory:
    """Named buffers and one stream on device 0, in the primary context that TensorRT's own CUDA runtime uses."""

    def __init__(self, library: str = LIBRARY) -> None:
        self._cuda = ctypes.CDLL(library)
        self._buffers: dict[str, tuple[ctypes.c_uint64, int]] = {}
        device, context, self._stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        _check(self._cuda.cuInit(0), "cuInit")
        _check(self._cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
        _check(self._cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
        _check(self._cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")
        _check(self._cuda.cuStreamCreate(ctypes.byref(self._stream), 1), "cuStreamCreate")  # 1: not tied to stream 0

    @property
    def stream(self) -> int:
        """The handle that TensorRT enqueues on."""
        return self._stream.value or 0

    def reserve(self, name: str, size_bytes: int) -> int:
        """The address of the buffer of that name, replaced by a larger one where it is too small."""
        size = max(size_bytes, 1)  # the driver refuses an allocation of nothing
        held = self._buffers.get(name)
        if held is not None and held[1] >= size:
            return held[0].value
        if held is not None:
            del self._buffers[name]
            _check(self._cuda.cuMemFree_v2(held[0]), "cuMemFree")
        address = ctypes.c_uint64()
        _check(self._cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)), f"cuMemAlloc of {size} bytes")
        self._buffers[name] = (address, size)
        return address.value

    def upload(self, name: str, array: np.ndarray) -> None:
        """Enqueues the copy of a contiguous array to its buffer; keep the array alive until `wait`."""
        source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        _check(self._cuda.cuMemcpyHtoDAsync_v2(self._buffers[name][0], source, size, self._stream), "cuMemcpyHtoDAsync")

    def download(self, name: str, array: np.ndarray) -> None:
        """Enqueues the copy of a buffer into a contiguous array; the values are there after `wait`."""
        target, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        _check(self._cuda.cuMemcpyDtoHAsync_v2(target, self._buffers[name][0], size, self._stream), "cuMemcpyDtoHAsync")

    def wait(self) -> None:
        """Returns when everything enqueued is done; faults of kernels show here."""
        _check(self._cuda.cuStreamSynchronize(self._stream), "cuStreamSynchronize")

    def close(self) -> None:
        """Frees the buffers and the stream; a second call does nothing."""
        for address, _ in self._buffers.values():
            self._cuda.cuMemFree_v2(address)
        self._buffers.clear()
        if self._stream:
            self._cuda.cuStreamDestroy_v2(self._stream)
            self._stream = ctypes.c_void_p()
