"""`compress doctor`: what this machine has and lacks for `compress`, and what each missing part costs.

`examine` gives findings as data, `render` the lines that are printed. No TensorRT is imported, because it crashes where there is no GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from compress.device.gpu import missing_gpu
from compress.recipe.packages import WEIGHTS, Weights


@dataclass(frozen=True)
class Finding:
    """One line of the examination: what was looked for, what is there, and what its absence costs."""

    name: str
    state: Literal["ok", "missing", "wrong"]
    found: str  # version, path or figure
    required: bool = False
    cost: str = ""  # what does not work without it; empty where all is well


class Package(NamedTuple):
    """A distribution, the versions that work (low <= version < below; an empty text is no limit), and what its absence costs."""

    name: str
    low: str
    below: str
    cost: str
    required: bool = True


PYTHON = ("3.11", "3.14")
PACKAGES = (
    Package("torch", "2.11", "2.14", "nothing can be trained or exported"),
    Package("transformers", "5", "6", "no text encoder and no hub or folder teacher"),
    Package("accelerate", "1.10", "2", "nothing can be trained"),
    Package("safetensors", "0.6", "1", "no weights can be read or stored"),
    Package("tokenizers", "0.22", "0.24", "no text can be read"),
    Package("numpy", "2", "3", "nothing works"),
    Package("pyarrow", "21", "", "no rows can be read"),
    Package("pillow", "11.3", "", "no image can be read"),
    Package("onnx", "1.19", "2", "nothing can be exported"),
    Package("onnxscript", "0.5", "1", "nothing can be exported"),
    Package("onnxruntime", "1.23", "2", "nothing can be measured, and no bundle answers"),
    Package("pydantic", "2.11", "3", "no recipe can be read"),
    Package("PyYAML", "6", "7", "no recipe can be read"),
    Package("typer", "0.20", "1", "no command line"),
    Package("rich", "14", "16", "no progress bars"),
    Package("easy-vqa", "1.0", "", "data.source easy_vqa, and with it the default recipe, is refused", False),
    Package("datasets", "4", "", "data.source hub is refused", False),
    Package("soundfile", "0.13", "", "no sound can be read: data.inputs.audio is refused", False),
    Package("soxr", "0.5", "", "no sound can be brought to another rate: data.inputs.audio is refused", False),
    Package("tensorrt_rtx", "1.7.1", "", "engine.flavour tensorrt_rtx: no engines are built or checked", False),
    Package("tensorrt", "10.3", "12", "engine.flavour tensorrt: no engines are built on this GPU", False),
    Package("openvino", "2026", "", "benchmark.runtimes: [openvino] is refused", False),
    Package("litert-torch", "0.10", "", "export.mobile: [litert] is refused", False),
    Package("ai-edge-litert", "2.3", "", "benchmark.runtimes: [litert] is refused", False),
    Package("wandb", "0.20", "", "trackers: [wandb] is refused; TensorBoard works", False),
    Package("optuna", "5", "6", "`compress sweep` is refused", False),
    Package("ray", "2.50", "3", "`compress sweep --ray` is refused", False),
    Package("starlette", "1.0", "2", "`compress serve` is refused", False),
    Package("uvicorn", "0.40", "", "`compress serve` is refused", False),
    Package("python-multipart", "0.0.20", "", "`compress serve` is refused", False),
    Package("cryptography", "44", "", "bundles can be neither signed nor checked with --key", False),
)
# CPU flag in /proc/cpuinfo -> what it means for int8, best first
_INT8_FLAGS = {
    "amx_int8": "int8 in tiles",
    "avx512_vnni": "int8 dot products, 512 bits",
    "avx_vnni": "int8 dot products, 256 bits",
    "i8mm": "int8 matrix products (ARM)",
    "asimddp": "int8 dot products (ARM)",
    "avx2": "int8 without dot products: gains are small, and saturation is possible",
}
_MIN_FREE_GB = 5.0  # GB a cold run of the default recipe and its store may take


def examine() -> list[Finding]:
    """Every finding, in the order it is printed."""
    return [
        _examine_python(),
        *(examine_package(package) for package in PACKAGES),
        *(examine_weights(name, weights) for name, weights in WEIGHTS.items()),
        *_examine_machine(),
        _examine_providers(),
    ]


def render(findings: list[Finding]) -> list[str]:
    """One aligned line a finding, and a last line that sums up."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok" if finding.state == "ok" else finding.state if finding.required else f"{finding.state}, optional"
        lines.append(f"{mark:<17} {finding.name:<{width}}  {finding.found}" + (f"; costs: {finding.cost}" if finding.cost else ""))
    lacking = [finding.name for finding in findings if finding.required and finding.state != "ok"]
    lines.append(f"{len(lacking)} required part(s) not usable: {', '.join(lacking)}" if lacking else "all that is required is here")
    return lines


def examine_package(package: Package) -> Finding:
    """Whether a distribution is installed in a version that works; nothing is imported."""
    span = f">={package.low}" + (f",<{package.below}" if package.below else "")
    try:
        version = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(package.name, "missing", f"not installed (needs {span})", package.required, package.cost)
    works = _release(version) >= _release(package.low) and (not package.below or _release(version) < _release(package.below))
    found = version if works else f"{version}, but needs {span}"
    return Finding(package.name, "ok" if works else "wrong", found, package.required, "" if works else package.cost)


def examine_weights(encoder: str, weights: Weights) -> Finding:
    """Whether a package's file is there and is the one that was published; the package is not imported."""
    file, cost = weights.path, f"encoder {encoder} has no pretrained weights"
    if file is None or not file.is_file():
        return Finding(weights.package, "missing", f"not installed; {weights.install}", cost=cost)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != weights.sha256:
        found = f"{file}: sha256 {digest[:12]}, but {weights.sha256[:12]} was published; reinstall {weights.package}"
        return Finding(weights.package, "wrong", found, cost=cost)
    return Finding(weights.package, "ok", f"{file.name}, {file.stat().st_size / 1e6:.1f} MB, sha256 {digest[:8]}")


def int8_support(cpuinfo: str) -> Finding:
    """What the flags in the text of /proc/cpuinfo mean for int8 kernels."""
    flags = set(re.findall(r"\w+", " ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE))))
    known = {flag: meaning for flag, meaning in _INT8_FLAGS.items() if flag in flags}
    if not known:
        return Finding("CPU int8", "missing", "no flag that speeds int8 up", cost="int8 is likely slower than float32 here")
    best = next(iter(known))
    slow = "int8 may be slower than float32 here" if best == "avx2" else ""
    return Finding("CPU int8", "ok", f"{', '.join(known)} ({known[best]})", cost=slow)


def _examine_python() -> Finding:
    version, (low, below) = ".".join(map(str, sys.version_info[:3])), PYTHON
    works = _release(low) <= _release(version) < _release(below)
    cost = "" if works else f"nothing is tested here; needs >={low},<{below}"
    return Finding("python", "ok" if works else "wrong", f"{version} at {sys.executable}", True, cost)


def _examine_machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("CPU cores", "ok", str(cores))
    cpuinfo = Path("/proc/cpuinfo")
    yield int8_support(cpuinfo.read_text(errors="replace") if cpuinfo.exists() else "")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    enough = memory_gb >= 2
    yield Finding("memory", "ok" if enough else "wrong", f"{memory_gb:.1f} GB", cost="" if enough else "training takes up to 2 GB")
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    enough = free_gb >= _MIN_FREE_GB
    cost = "" if enough else f"a cold run may take {_MIN_FREE_GB:.0f} GB"
    yield Finding("disk", "ok" if enough else "wrong", f"{free_gb:.1f} GB free in {Path.cwd()}", cost=cost)
    yield _examine_gpu()


def _examine_gpu() -> Finding:
    reason = missing_gpu()
    if reason is not None:
        return Finding("GPU", "missing", reason, cost="training takes the CPU, and engines cannot be run")
    name = ctypes.create_string_buffer(128)
    device, driver = ctypes.c_int(), ctypes.CDLL("libcuda.so.1")
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    return Finding("GPU", "ok", name.value.decode(errors="replace"))


def _examine_providers() -> Finding:
    """ONNX Runtime's execution providers; here it is imported, as its package alone does not tell them."""
    try:
        import onnxruntime
    except ImportError as error:
        return Finding("ONNX Runtime providers", "missing", f"cannot be imported: {error}", True, "nothing can be measured")
    return Finding("ONNX Runtime providers", "ok", ", ".join(onnxruntime.get_available_providers()))


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: "2.13.0+cpu" -> (2, 13, 0), "1.0rc1" -> (1, 0)."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
