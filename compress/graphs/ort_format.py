"""ONNX Runtime's own file format (.ort) for its mobile builds: optimised ahead, with the list of operators that a small build must hold.

Written by a session and not by onnxruntime.tools.convert_onnx_models_to_ort, which cannot be told to keep uint8 x int8 products exact:
on x86 without VNNI its int8 files answered 14 % of the largest logit away from the ONNX that they were made of.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.device.info import has_vnni
from compress.device.sessions import keep_products_exact, open_session
from compress.errors import CompressError, ParityError

TARGETS = {"arm": "1", "amd64": "0"}  # whether int8 activations stay int8; x86 kernels want uint8
TOLERANCE = 1e-3  # of the largest logit: the same kernels, in another order of fusions


@dataclass(frozen=True)
class OrtFile:
    """The written files, and the largest difference from an output of the ONNX file as a share of that output's largest magnitude."""

    model: Path
    operators: Path  # for --include_ops_by_config of ONNX Runtime's build
    max_difference: float


def to_ort_format(model: Path, out: Path, *, target: str, feeds: dict[str, np.ndarray], tolerance: float = TOLERANCE) -> OrtFile:
    """`out`/<name>.ort and <name>.required_operators.config, whose answers to `feeds` are the ONNX file's on this machine.

    The optimisations are fixed at conversion. For arm take an int8 file whose activations are int8: one with uint8 activations cannot be
    checked on x86 without VNNI, where its products saturate. An amd64 file with int8 is made for processors like this one: whether its
    products need the exact form is decided by the machine that converts.

    Raises: CompressError for an unknown target or a file that does not convert; ParityError, with nothing left, for other answers.
    """
    if target not in TARGETS:
        raise CompressError(f"ORT format target {target!r}: known are {', '.join(TARGETS)}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{model.stem}.ort"
    _save(model, path, target=target)
    operators = _list_operators(path)
    difference = _difference(open_session(model).run(feeds), open_session(path).run(feeds))
    if not difference <= tolerance:  # not finite counts as different
        path.unlink()
        operators.unlink()
        raise ParityError(f"{path}: logits differ by {difference:.2g} of their largest magnitude from {model} (at most {tolerance:.2g})")
    return OrtFile(path, operators, difference)


def why_unchecked(name: str) -> str | None:
    """Why this machine cannot check the answers of a model's ARM file, or None: int8 saturates on x86 without VNNI."""
    if name.startswith("int8") and platform.machine().lower() in ("x86_64", "amd64") and not has_vnni():
        return "this x86 processor has no VNNI, so it could not check the int8 file's answers; export it on one that has, or on ARM"
    return None


def _save(model: Path, path: Path, *, target: str) -> None:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    refusals = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented, state.RuntimeException)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.add_session_config_entry("session.qdqisint8allowed", TARGETS[target])
    if target == "amd64":
        keep_products_exact(options)
    # NCHWc: a layout of this processor's vector width, so the file would be tied to it
    disabled = ["NchwcTransformer"]
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    except refusals as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise CompressError(f"{model}: ONNX Runtime {onnxruntime.__version__} cannot write it as .ort for {target}: {reason}") from error


def _list_operators(path: Path) -> Path:
    from onnxruntime.tools.ort_format_model import create_config_from_models

    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)  # it logs each file at INFO
    operators = path.with_suffix(".required_operators.config")
    create_config_from_models([path], operators, False)
    return operators


def _difference(expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> float:
    """Of the output that differs most; not a number where one is that."""
    apart = [np.abs(actual[name] - one).max() / max(float(np.abs(one).max()), 1e-12) for name, one in expected.items()]
    return float(np.max(apart))
