"""`IOSpec`: the one source of input and output names, types and shapes for batch, ONNX, engine and device.

A model takes raw values: images as uint8 NHWC pixels, text as int64 token ids (0-padded; the graph derives the mask),
and gives float32 logits. The first axis is the batch and is the only dynamic one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Port:
    """One input or output: `shape` leaves the batch axis out."""

    name: str  # "image", "text" or "logits"
    dtype: str  # numpy name: "uint8", "int64", "float32"
    shape: tuple[int, ...]  # (H, W, 3) pixels, (T,) token ids, (K,) logits
    low: float | None = None  # smallest legal value
    high: float | None = None  # largest legal value


@dataclass(frozen=True)
class IOSpec:
    """The ports of one model, in the order of the ONNX inputs and outputs."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    max_batch: int = 32

    @property
    def modalities(self) -> tuple[str, ...]:
        """The input names in order."""
        return tuple(port.name for port in self.inputs)

    def input(self, name: str) -> Port:
        """The input port of that name."""
        return next(port for port in self.inputs if port.name == name)

    def to_json(self) -> dict:
        """Plain data, as it stands in artifact.json and in a bundle's io_spec.json."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict) -> IOSpec:
        """The inverse of `to_json`."""

        def ports(name: str) -> tuple[Port, ...]:
            return tuple(Port(**{**port, "shape": tuple(port["shape"])}) for port in data[name])

        return IOSpec(ports("inputs"), ports("outputs"), data["max_batch"])

    @staticmethod
    def load(path: Path) -> IOSpec:
        """Reads io_spec.json."""
        return IOSpec.from_json(json.loads(path.read_text()))


def io_spec(*, image_size: int | None, text_length: int | None, vocabulary: int | None, classes: int) -> IOSpec:
    """The spec of a classifier: `image_size` pixels a side, `text_length` tokens; None leaves the modality out."""
    inputs = []
    if image_size:
        inputs.append(Port("image", "uint8", (image_size, image_size, 3), 0, 255))
    if text_length:
        inputs.append(Port("text", "int64", (text_length,), 0, vocabulary - 1 if vocabulary else None))
    return IOSpec(tuple(inputs), (Port("logits", "float32", (classes,)),))
