"""RAPL's counters: which are read, what lies between two readings, and why there are none."""

from __future__ import annotations

from pathlib import Path

from compress.device.energy import Meter


def counter(root: Path, folder: str, name: str, energy: int | None) -> Path:
    place = root / "sys" / "class" / "powercap" / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text("1000000\n")
    if energy is not None:
        (place / "energy_uj").write_text(f"{energy}\n")
    return place / "energy_uj"


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    one, two = counter(tmp_path, "intel-rapl:0", "package-0", 100), counter(tmp_path, "intel-rapl:1", "package-1", 900_000)
    counter(tmp_path, "intel-rapl:0:0", "core", 50)
    counter(tmp_path, "intel-rapl:2", "psys", 70)
    meter = Meter(tmp_path)
    assert ([*meter.packages], meter.why) == (["package-0", "package-1"], None)
    before = meter.read()
    one.write_text("250100\n")
    two.write_text("150000\n")  # came to its end at 1,000,000 and began again: 250,000 more
    assert meter.joules(before, meter.read()) == 0.5


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    assert meter.packages == {} and "no RAPL counters" in str(meter.why)


def test_a_counter_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", None)
    meter = Meter(tmp_path)
    assert meter.packages == {} and "energy_uj cannot be read (No such file or directory)" in str(meter.why)
