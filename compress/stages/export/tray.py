"""`Tray`: the student's files as they are made; one that fails is left out with its reason, and the run goes on with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compress.device.errors import DeviceError
from compress.errors import CompressError


@dataclass
class Tray:
    """What passed, what did not, and for whom each file was meant."""

    out: Path
    say: Callable[[str], None]
    files: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> {file, precision, target}
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why
    meant_for: dict[str, str] = field(default_factory=dict)  # name of an int8 file that the recipe asks for -> its target

    def add(self, name: str, **entry: str) -> None:
        """Puts down `<name>.onnx`, which lies in `out`."""
        self.files[name] = {"file": f"{name}.onnx", **entry}

    @contextmanager
    def attempt(self, names: Mapping[str, str | None]) -> Iterator[None]:
        """Inside, these files are made; what is raised there leaves all of them out. names: file -> its target where int8 is asked for."""
        self.meant_for |= {name: target for name, target in names.items() if target}
        try:
            yield
        except (CompressError, DeviceError) as error:
            for name in names:
                self.left_out[name] = str(error)
                self.files.pop(name, None)
                (self.out / f"{name}.onnx").unlink(missing_ok=True)
            self.say(f"export: left out {', '.join(names)}: {error}")

    def unserved(self) -> dict[str, str]:
        """Targets for which int8 was asked and no int8 file is left, with the reason of each file."""
        served = {target for name, target in self.meant_for.items() if name not in self.left_out}
        lost: dict[str, list[str]] = {}
        for name, target in self.meant_for.items():
            if target not in served:
                lost.setdefault(target, []).append(f"{name}: {self.left_out[name]}")
        return {target: "; ".join(reasons) for target, reasons in lost.items()}
