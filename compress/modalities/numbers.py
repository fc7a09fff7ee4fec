"""Rows of numbers, such as the readings of a sensor beside a camera; a model reads float32 values (D,)."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.errors import DeviceError
from compress.device.modalities.numbers import parse
from compress.io_spec import Port
from compress.modalities.modality import Failures, Inputs, Modality

if TYPE_CHECKING:
    import pyarrow as pa


class Numbers(Modality):
    """A cell is a list of numbers, one number, or a string of numbers with spaces, commas or semicolons between them."""

    words = {
        "input": {
            "size": {"type": "int", "ge": 1, "le": 65536, "description": "Numbers a row has."},
        },
        "augment": {},
        "feed": {"name": {"type": "str", "default": "numbers", "description": "The file's input."}},
        "student": {},
    }
    student = "mlp"
    blank = "no numbers"

    def column(self, column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
        """Strings, or the bytes of float32 values."""
        from compress.modalities.cells import float_column

        return float_column(column, place)

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """`file`.npy: (N, D) float32."""
        from compress.store.arrays import allocate

        failures: Failures = {}
        for file, words in files.items():
            out = allocate(folder / f"{file}.npy", (len(inputs), words.size), np.float32)
            for index in range(len(inputs)):
                value = inputs.value(index)
                try:
                    out[index] = parse(np.frombuffer(value, np.float32) if isinstance(value, bytes) else value, words.size)
                except DeviceError as error:
                    failures[index] = ("unusable numbers", str(error))
            out.flush()
        return failures

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """Those rows alone."""
        from compress.store.arrays import keep_rows

        keep_rows(folder / f"{file}.npy", kept, out=out / f"{file}.npy", block=65536)

    def port(self, words: Any, model: Path | None) -> Port:
        """(D,) float32."""
        return Port(self.name, "float32", (words.size,))

    def feed(self, words: Any, *, padding: int = 0) -> dict[str, list[tuple[str, Any]]]:
        """The numbers as they are."""
        return {words.name: []}

    def as_given(self, stored: Any, index: int, port: Port) -> dict[str, Any]:
        """As they stand on a command line."""
        return {f"{port.shape[0]} numbers as text": " ".join(map(repr, np.asarray(stored[index]).tolist()))}

    def show(self, stored: Any, index: int) -> str:
        """The first of them."""
        values = np.asarray(stored[index])
        return html.escape(" ".join(f"{value:.4g}" for value in values[:12]) + (" ..." if len(values) > 12 else ""))
