"""What a device says about itself, from small copies of /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.device.info import describe_device, read_sensors


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_device_is_named_by_its_board_first(tmp_path: Path) -> None:
    write(tmp_path, proc__cpuinfo="model name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimddp\n")
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    device = describe_device(tmp_path)
    assert device["name"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert device["flags"] == ["asimd", "asimddp"]


def test_device_is_named_by_its_processor(tmp_path: Path) -> None:
    write(tmp_path, proc__cpuinfo="model name\t: AMD EPYC\nflags\t: sse avx2 avx512_vnni\n", proc__meminfo="MemTotal:  2097152 kB\n")
    device = describe_device(tmp_path)
    assert (device["name"], device["flags"], device["memory_mib"]) == ("AMD EPYC", ["avx2", "avx512_vnni"], 2048)


def test_device_has_a_name_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert describe_device(tmp_path)["name"]


def test_sensors_give_clocks_and_temperatures(tmp_path: Path) -> None:
    cpu, zone = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq", tmp_path / "sys/class/thermal/thermal_zone0"
    cpu.mkdir(parents=True)
    zone.mkdir(parents=True)
    (cpu / "scaling_cur_freq").write_text("1510400\n")
    (cpu / "scaling_governor").write_text("schedutil\n")
    (zone / "temp").write_text("48250\n")
    (zone / "type").write_text("cpu-thermal\n")
    sensors = read_sensors(tmp_path)
    assert sensors == {
        "clocks_mhz": {"cpu0": pytest.approx(1510.4)},
        "temperatures_c": {"thermal_zone0 cpu-thermal": pytest.approx(48.25)},
        "governors": ["schedutil"],
    }


def test_sensors_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    (zone / "temp").mkdir(parents=True)  # reading it fails as a powered-down sensor does
    assert read_sensors(tmp_path) == {"clocks_mhz": {}, "temperatures_c": {}, "governors": []}
