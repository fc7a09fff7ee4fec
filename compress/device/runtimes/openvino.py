"""OpenVINO's CPU runtime behind the call of `Session`: the same ONNX file, in float32 where the file says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..feeds import require_feeds


class OpenVINOSession:
    """One ONNX file compiled for this CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        # without the hint, processors with bfloat16 would compute a float32 file in bfloat16
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        try:
            self._compiled: Any = openvino.Core().compile_model(str(path), "CPU", options)
        except RuntimeError as error:
            raise DeviceError(f"{path}: OpenVINO {openvino.__version__} cannot open the model: {last_line(error)}") from error
        self._request = self._compiled.create_infer_request()
        self._path = path
        self.inputs: list[str] = [port.get_any_name() for port in self._compiled.inputs]
        self.outputs: list[str] = [name for port in self._compiled.outputs for name in sorted(port.get_names())]  # one tensor, many names

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, first axis the batch; raises DeviceError when the runtime refuses the feeds."""
        require_feeds(self._path, self.inputs, feeds)
        try:
            answers = self._request.infer({name: feeds[name] for name in self.inputs}, share_inputs=True)
        except RuntimeError as error:
            raise DeviceError(f"{self._path}: the model did not run: {last_line(error)}") from error
        return {name: np.array(answers[port]) for port in self._compiled.outputs for name in port.get_names()}


def last_line(error: Exception) -> str:
    """What went wrong; OpenVINO's messages begin with the places in its source."""
    return ([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1][:300]
