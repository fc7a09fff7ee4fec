"""`int8_dynamic`: weights of linear layers in int8, activations quantized at run time; no calibration, for transformers on a CPU."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx

from compress.errors import CompressError
from compress.graphs.clean import strip_metadata
from compress.graphs.graph import Graph
from compress.graphs.linear import fold_transposes

LINEAR = ("MatMul", "Gemm")


def quantize_dynamic(model_path: Path | str, out: Path | str) -> bool:
    """Whether there was something to quantize: then the float32 model with MatMul and Gemm weights as per-channel int8 is written to `out`.

    Only products with a constant right side are touched: attention products, convolutions and embeddings stay float
    (in everything-int8 files ConvInteger is several times slower than the float convolution).

    Raises:
        CompressError: the model holds Q/DQ nodes already.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as ort_quantize_dynamic

    model = onnx.load(str(model_path))
    if any(node.op_type in ("QuantizeLinear", "MatMulInteger", "DynamicQuantizeLinear") for node in model.graph.node):
        raise CompressError(f"{model_path}: quantized already. Give int8_dynamic the float32 export.")
    graph = Graph(model)
    fold_transposes(graph)  # a weight behind Transpose is no constant to the library, which would leave its layer in float
    graph.remove_dead()
    root = logging.getLogger()
    level = root.level
    root.setLevel(
        logging.ERROR
    )  # the library asks on the root logger for its own pre-processing, which shape inference makes needless here
    try:
        ort_quantize_dynamic(
            onnx.shape_inference.infer_shapes(model),
            str(out),
            op_types_to_quantize=list(LINEAR),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)
    quantized = onnx.load(str(out))
    if not any(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in quantized.graph.node):
        Path(out).unlink()
        return False
    onnx.save(strip_metadata(quantized, value_info=True), str(out))
    return True
