"""From prepared data to the `Rows` of a training or a validation, with the texts tokenized for one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data.prepared import Split
from compress.data.tokens import tokenize
from compress.io_spec import IOSpec
from compress.training.batches import Rows
from compress.training.views import Views


def open_rows(
    split: Split, io: IOSpec, *, tokenizer: Path | None, teacher: bool = False, targets: np.ndarray | None = None, views: Views | None = None
) -> Rows:
    """The rows of one split for a model with ports `io`; a teacher may see the images in another size."""
    given = split.teacher_inputs if teacher else split.inputs
    inputs: dict[str, np.ndarray] = {}
    if "image" in io.modalities:
        inputs["image"] = given["image"]
    if "text" in io.modalities:
        if tokenizer is None:
            raise ValueError("a model that reads text needs its tokenizer")
        inputs["text"] = tokenize(tokenizer, given["text"], io.input("text").shape[0])
    rows = {m: split.rows[m] for m in io.modalities}
    return Rows(inputs, rows, split.labels, targets, views or Views(((False, 0, 0),)))
