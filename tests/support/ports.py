"""Ports for tests: a classifier of images and texts in one line."""

from __future__ import annotations

from compress.io_spec import PRESENT, IOSpec, Port


def io_spec(
    *, image_size: int | None = None, text_length: int | None = None, vocabulary: int | None = None, classes: int, gaps: bool = False
) -> IOSpec:
    """The spec of a classifier: `image_size` pixels a side, `text_length` tokens; None leaves the modality out; `gaps`: rows may lack inputs."""
    inputs = []
    if image_size:
        inputs.append(Port("image", "uint8", (image_size, image_size, 3), 0, 255))
    if text_length:
        inputs.append(Port("text", "int64", (text_length,), 0, vocabulary - 1 if vocabulary else None))
    if gaps:
        inputs.append(Port(PRESENT, "float32", (len(inputs),), 0, 1))
    return IOSpec(tuple(inputs), (Port("logits", "float32", (classes,)),))
