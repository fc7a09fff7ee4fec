"""Energy counters of the processor: what RAPL gives under /sys/class/powercap, or why it gives nothing."""

from __future__ import annotations

from pathlib import Path

POWERCAP = "sys/class/powercap"


class Meter:
    """The packages whose counters can be read; `why` says why there are none. `root` is where /sys is found.

    A package is the whole processor with all that runs on it, idle cores included; memory and the rest of the machine are not counted.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.packages: dict[str, Path] = {}
        self.why: str | None = None
        folders = sorted((root / POWERCAP).glob("intel-rapl:*"))  # AMD's are named so too
        for folder in folders:
            try:
                name = (folder / "name").read_text(encoding="utf-8").strip()
                if folder.name.count(":") == 1 and name.startswith("package"):  # what lies within a package is part of it
                    int((folder / "energy_uj").read_text(encoding="utf-8"))
                    self.packages[name] = folder
            except (OSError, ValueError) as error:
                self.why = (
                    f"{folder / 'energy_uj'} cannot be read ({getattr(error, 'strerror', None) or error}); Linux shows it to root alone"
                )
        if self.packages:
            self.why = None
        elif not folders:
            self.why = f"there is no /{POWERCAP}/intel-rapl:*: this processor, virtual machine or system has no RAPL counters"
        elif self.why is None:
            self.why = f"none of /{POWERCAP}/intel-rapl:* is a whole processor"

    def read(self) -> dict[str, int]:
        """Microjoules by package, counted from some moment on."""
        return {name: int((folder / "energy_uj").read_text(encoding="utf-8")) for name, folder in self.packages.items()}

    def joules(self, before: dict[str, int], after: dict[str, int]) -> float:
        """What was used between two readings, in all packages; a counter that came to its end began again at 0."""
        used = 0
        for name, folder in self.packages.items():
            spent = after[name] - before[name]
            used += spent if spent >= 0 else spent + int((folder / "max_energy_range_uj").read_text(encoding="utf-8"))
        return used / 1e6
