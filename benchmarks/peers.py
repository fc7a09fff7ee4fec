"""Other libraries' post-training int8 (and int4) for one ONNX file, each a function with the distributions it needs; runs in that peer's environment.

    PEER_VENV/bin/python benchmarks/peers.py NAME job.json

job.json: {"fp32": file, "calibration": .npz of row-wise inputs, "student": model folder, "out": file, "opset": n}. Writes `out`.
Only the standard library is imported at the top: an environment holds what its own peer needs and nothing more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BATCH = 64  # calibration rows a call


@dataclass(frozen=True)
class Peer:
    """A quantizer, and the distributions that its environment must hold."""

    quantize: Callable[[dict[str, Any]], None]
    requires: tuple[str, ...]
    title: str


def ort_static_default(job: dict[str, Any]) -> None:
    """`quantize_static` as it comes: every operator that it knows, signed activations, one scale a weight."""
    from onnxruntime.quantization import quantize_static

    quantize_static(job["fp32"], job["out"], ort_reader(job))


def ort_static_tuned(job: dict[str, Any]) -> None:
    """`quantize_static` restricted by hand: convolutions with the ReLU and residual sums behind them, linear layers with constant weights."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    model = onnx.load(job["fp32"])
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.save(model, job["out"])
    chosen = tuned_nodes(model)
    types = sorted({node.op_type for node in model.graph.node if node.name in chosen})
    types_of = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    options = {"MatMulConstBOnly": True}
    quantize_static(
        job["out"],
        job["out"],
        ort_reader(job),
        op_types_to_quantize=types,
        nodes_to_quantize=chosen,
        per_channel=True,
        extra_options=options,
        **types_of,
    )


def ort_int4(job: dict[str, Any]) -> None:
    """Weights of linear layers as int4 in blocks of 32, activations in float: MatMulNBits, as ONNX Runtime's own tool writes it."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(onnx.load(job["fp32"]))
    model.replace_gemm_with_matmul()  # the tool knows no Gemm
    quantizer = MatMulNBitsQuantizer(model.model, bits=4, block_size=32, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model, job["out"])


def tuned_nodes(model: Any) -> list[str]:
    """Names of the nodes to quantize: Conv, Gemm and MatMul with a constant weight, ReLU behind a Conv, sums of what convolutions gave."""
    constants = {tensor.name for tensor in model.graph.initializer}
    chosen: list[str] = []
    spatial: set[str] = set()  # tensors that a quantized convolution, ReLU or sum gave
    for node in model.graph.node:  # in topological order
        linear = node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants
        follows = node.op_type in ("Relu", "Clip") and node.input[0] in spatial
        sums = node.op_type == "Add" and all(name in spatial for name in node.input)
        if linear or follows or sums:
            chosen.append(node.name)
        if node.op_type == "Conv" or follows or sums:
            spatial.update(node.output)
    return chosen


def ort_reader(job: dict[str, Any]) -> Any:
    """The calibration rows as ONNX Runtime's quantizer wants them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = calibration(job)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    return Reader()


def modelopt(job: dict[str, Any]) -> None:
    """ModelOpt's ONNX quantization with its default method for int8."""
    import numpy as np
    from modelopt.onnx.quantization import quantize

    with np.load(job["calibration"]) as arrays:
        data = dict(arrays)
    quantize(job["fp32"], quantize_mode="int8", calibration_data=data, calibration_eps=["cpu"], output_path=job["out"])


def nncf(job: dict[str, Any]) -> None:
    """NNCF's post-training quantization of an ONNX model, with its defaults."""
    import nncf as library
    import onnx

    batches = list(calibration(job))
    quantized = library.quantize(onnx.load(job["fp32"]), library.Dataset(batches), subset_size=len(batches))
    onnx.save(quantized, job["out"])


def brevitas(job: dict[str, Any]) -> None:
    """Brevitas, layer by layer with its defaults, calibrated, exported as QCDQ; reads the torch student with this project's own code."""
    import torch
    from brevitas.export import export_onnx_qcdq
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import layerwise_quantize

    from compress.io_spec import IOSpec
    from compress.models.classifier import ByPort
    from compress.models.saved import load_model
    from compress.quantizers import fold_norms

    student = load_model(Path(job["student"]))
    fold_norms(student)
    batches = [{name: torch.from_numpy(array) for name, array in feeds.items()} for feeds in calibration(job)]
    model = ByPort(layerwise_quantize(student), IOSpec.load(Path(job["student"]) / "io_spec.json")).eval()
    with torch.no_grad(), calibration_mode(model):
        for batch in batches:
            model(*batch.values())
    names = list(batches[0])
    example = tuple(array[:2] for array in batches[0].values())
    axes = {name: {0: "batch"} for name in [*names, "logits"]}
    export_onnx_qcdq(
        model, example, job["out"], input_names=names, output_names=["logits"], dynamic_axes=axes, opset_version=17, dynamo=False
    )


def calibration(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The calibration rows, BATCH at a time, by input name."""
    import numpy as np

    with np.load(job["calibration"]) as arrays:
        data = dict(arrays)
    rows = len(next(iter(data.values())))
    for start in range(0, rows, BATCH):
        yield {name: array[start : start + BATCH] for name, array in data.items()}


PEERS = {
    "ort_static_default": Peer(ort_static_default, ("onnxruntime", "onnx", "numpy"), "ONNX Runtime static, defaults"),
    "ort_static_tuned": Peer(ort_static_tuned, ("onnxruntime", "onnx", "numpy"), "ONNX Runtime static, restricted by hand"),
    "ort_int4": Peer(ort_int4, ("onnxruntime", "onnx", "numpy"), "int4 weights in linear layers (MatMulNBits)"),
    "modelopt": Peer(modelopt, ("nvidia-modelopt", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy"), "ModelOpt"),
    "nncf": Peer(nncf, ("nncf", "onnx", "onnxruntime", "numpy"), "NNCF"),
    "brevitas": Peer(brevitas, ("brevitas", "torch", "onnx", "pydantic", "safetensors", "numpy"), "Brevitas"),
}


def missing(requires: tuple[str, ...]) -> list[str]:
    """The distributions that this environment lacks."""
    absent = []
    for name in requires:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def main() -> None:
    """Runs one peer on one job; the last line of standard output says which versions did it."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    peer = PEERS[name]
    absent = missing(peer.requires)
    if absent:
        sys.exit(f"{name}: not installed in {sys.prefix}: {', '.join(absent)}")
    peer.quantize(job)
    print(json.dumps({required: version(required) for required in peer.requires}))


if __name__ == "__main__":
    main()
