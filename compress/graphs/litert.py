"""A torch student as a .tflite file for LiteRT (formerly TensorFlow Lite), converted in a process of its own: `python -m` this module.

The converter brings JAX and takes no ONNX, so it gets the traced program in a file and needs no model of ours, nor a plugin's, beside it. The file holds
one row a call: with a dynamic batch the runtime's fast kernels (XNNPACK) would not take the graph.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from compress.device.runtimes.process import supervise_module
from compress.errors import CompressError
from compress.io_spec import IOSpec


class ByName(nn.Module):
    """A model of ours with one keyword a port, which is where the file's names come from."""

    def __init__(self, model: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        found = self.model(inputs)
        return {name: getattr(found, name) for name in self.outputs}


def to_litert(model: nn.Module, io: IOSpec, out: Path) -> Path:
    """Writes the float32 model, one row a call; token ids become int32. Raises CompressError with the converter's last words."""
    example = {port.name: torch.zeros((1, *port.shape), dtype=getattr(torch, port.dtype)) for port in io.inputs}
    program = torch.export.export(ByName(model, [port.name for port in io.outputs]).eval(), (), example)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "student.pt2"
        torch.export.save(program, source)
        arguments = [str(source), str(out.resolve())]
        supervise_module("compress.graphs.litert", arguments, what=f"{out.name}: LiteRT's converter", error=CompressError)
    return out


def convert(source: Path, out: Path) -> None:
    """The traced program in `source` as a .tflite file."""
    import litert_torch

    program = torch.export.load(source)
    _, example = program.example_inputs
    litert_torch.convert(program.module(), sample_kwargs=example).export(str(out))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
