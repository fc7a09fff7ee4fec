"""A teacher that is an ONNX file with our ports: ONNX Runtime answers, and nobody looks inside."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compress.device.sessions import open_session
from compress.io_spec import IOSpec, Outputs
from compress.models.classifier import Inputs, RowModel

MOST = 32  # rows a call: a foreign model may be large


class OnnxTeacher(RowModel):
    """The file's logits for rows of inputs, in float32, with torch's number of threads."""

    def __init__(self, io: IOSpec, file: Path) -> None:
        super().__init__()
        self.ports, self.file = [port.name for port in io.inputs], file
        self.session = open_session(file, threads=torch.get_num_threads())

    @torch.no_grad()
    def classify(self, inputs: Inputs) -> Outputs:
        feeds = {name: inputs[name].numpy() for name in self.ports}
        rows = len(feeds[self.ports[0]])
        parts = [
            self.session.run({name: array[start : start + MOST] for name, array in feeds.items()})["logits"]
            for start in range(0, rows, MOST)
        ]
        return Outputs(torch.cat([torch.from_numpy(part) for part in parts]))


def onnx_teacher(io: IOSpec, *, file: str) -> nn.Module:
    """The teacher in an ONNX file that has the ports of `io`."""
    return OnnxTeacher(io, Path(file))
