"""What this device is, and how warm and fast it runs: read from /proc and /sys, where they say it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from .gpu import probe_gpu

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")  # they decide how fast int8 is


def describe_device(root: Path = Path("/")) -> dict[str, Any]:
    """Name, architecture, cores, memory (MiB), GPU, instruction sets, system and Python; `root` is where /proc and /sys are found."""
    fields = _cpu_fields(root)
    features = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "name": _name(root, fields),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": _memory_mib(root),
        "gpu": probe_gpu().name or None,
        "flags": [flag for flag in FLAGS if flag in features],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def device_name(root: Path = Path("/")) -> str:
    """The name alone, without asking any driver."""
    return _name(root, _cpu_fields(root))


def has_vnni(root: Path = Path("/")) -> bool:
    """Whether this processor adds int8 products in 32 bits; False also where the system does not say."""
    return any("vnni" in flag for flag in _cpu_fields(root).get("flags", "").split())


def has_bf16(root: Path = Path("/")) -> bool:
    """Whether this processor multiplies bfloat16 in hardware; False also where the system does not say."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set((_cpu_fields(root).get("flags") or "").split()))


def read_sensors(root: Path = Path("/")) -> dict[str, Any]:
    """`clocks_mhz` by core, `temperatures_c` by zone and the `governors` in use; a sensor that cannot be read is left out."""
    cpus, zones = root / "sys/devices/system/cpu", root / "sys/class/thermal"
    clocks, governors, temperatures = {}, set(), {}
    for folder in sorted(cpus.glob("cpu[0-9]*/cpufreq")):
        value = _read(folder / "scaling_cur_freq")  # kHz
        if value.isdigit():
            clocks[folder.parent.name] = int(value) / 1e3
        governors.add(_read(folder / "scaling_governor"))
    for folder in sorted(zones.glob("thermal_zone*")):
        value = _read(folder / "temp")  # thousandths of a degree
        if value.lstrip("-").isdigit():
            temperatures[f"{folder.name} {_read(folder / 'type')}".strip()] = int(value) / 1e3
    return {"clocks_mhz": clocks, "temperatures_c": temperatures, "governors": sorted(governors - {""})}


def _name(root: Path, fields: dict[str, str]) -> str:
    board = _read(root / "proc/device-tree/model")  # Jetson, Raspberry Pi and other boards
    return board or fields.get("model name") or fields.get("Hardware") or platform.processor() or platform.machine()


def _cpu_fields(root: Path) -> dict[str, str]:
    lines = (line.split(":", 1) for line in _read(root / "proc/cpuinfo").splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in lines}


def _memory_mib(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:  # sensors come and go, and some refuse to be read
        return ""
