"""LiteRT's interpreter (formerly TensorFlow Lite) behind the call of `Session`: a .tflite file of the student, one row a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..feeds import first_line, require_feeds


class LiteRTSession:
    """One .tflite file whose inputs hold one row each, as the exporter writes it; a batch runs row by row."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            ports = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise DeviceError(f"{path}: LiteRT cannot open the model: {first_line(error)}") from error
        self._path = path
        self._inputs: dict[str, Any] = ports.get_input_details()
        self._outputs: dict[str, Any] = ports.get_output_details()
        self.inputs, self.outputs = sorted(self._inputs), sorted(self._outputs)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, first axis the batch; raises DeviceError when the runtime refuses the feeds."""
        require_feeds(self._path, self.inputs, feeds)
        # its token ids are int32, and an id is far below 2^31
        arrays = {name: feeds[name].astype(port["dtype"], copy=False) for name, port in self._inputs.items()}
        try:
            rows = [self._run_row({name: array[i : i + 1] for name, array in arrays.items()}) for i in range(len(feeds[self.inputs[0]]))]
        except (ValueError, RuntimeError) as error:
            raise DeviceError(f"{self._path}: the model did not run: {first_line(error)}") from error
        return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}

    def _run_row(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(port["index"]) for name, port in self._outputs.items()}
