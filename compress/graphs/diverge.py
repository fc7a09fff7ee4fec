"""Finds the first layer at which two ONNX graphs of one model stop agreeing, on real inputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from compress.errors import ParityError
from compress.graphs.contract import node_label
from compress.graphs.graph import Graph
from compress.graphs.trace import Feeds, load_model, trace

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "Softmax")
JUMP = 2.0  # a node is blamed for a difference this many times the largest of its inputs'


@dataclass(frozen=True)
class Divergence:
    """The node of the other graph where the difference starts."""

    node: str
    op_type: str
    layer: str  # the computing node that reads or is this node
    tensor: str  # in the other graph
    reference_tensor: str
    relative_difference: float  # ||other - reference|| / ||reference||
    inherited: float  # the largest relative difference among its inputs
    max_difference: float
    reference_range: tuple[float, float]
    range: tuple[float, float]
    scale: list[float]  # of the Q/DQ node, or of the layer's weight; [] where there is none

    def to_json(self) -> dict:
        """Plain data for the report."""
        return asdict(self)

    def __str__(self) -> str:
        scale = f", scale {min(self.scale):.6g} to {max(self.scale):.6g}" if self.scale else ""
        return (
            f"{self.node} ({self.op_type}, layer {self.layer}): relative difference {self.relative_difference:.4g} after {self.inherited:.4g} "
            f"at its inputs; range {self.range[0]:.4g} to {self.range[1]:.4g}, "
            f"reference {self.reference_range[0]:.4g} to {self.reference_range[1]:.4g}{scale}"
        )


def compare_outputs(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Distances of two logit arrays of one shape (rows, K); `agreement` is the share of rows with the same argmax.

    `relative` is ||other - reference|| / ||reference||.

    Raises:
        ParityError: shapes differ, or a value is not finite.
    """
    if reference.shape != other.shape:
        raise ParityError(f"outputs: shapes {reference.shape} and {other.shape} differ. Compare the same rows.")
    for name, array in (("reference", reference), ("other", other)):
        if not np.all(np.isfinite(array)):
            raise ParityError(f"outputs: {int((~np.isfinite(array)).sum())} values of {name} are not finite. Look for an overflow.")
    gap = np.abs(other.astype(np.float64) - reference)
    agreement = np.mean(reference.argmax(-1) == other.argmax(-1)) if reference.ndim and reference.size else 1.0
    return {
        "max_difference": float(gap.max(initial=0.0)),
        "relative": relative_difference(reference, other),
        "mean_difference": float(gap.mean()) if gap.size else 0.0,
        "agreement": float(agreement),
    }


def relative_difference(reference: np.ndarray, other: np.ndarray) -> float:
    """||other - reference|| / ||reference||; infinite where shapes differ or a value is not finite on one side alone."""
    if reference.shape != other.shape:
        return float("inf")
    a, b = reference.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    gap = float(np.linalg.norm(np.where(same, 0.0, b - a)))
    return gap / max(float(np.linalg.norm(a)), 1e-12) if np.isfinite(gap) else float("inf")


def first_divergence(
    reference: onnx.ModelProto | Path | str, other: onnx.ModelProto | Path | str, feeds: Feeds, *, threshold: float = 0.05
) -> Divergence | None:
    """The first node of `other`, in graph order, whose relative difference is above the threshold and twice that of its inputs.

    Float tensors are matched by name. A dequantized tensor without a namesake is matched to what its quantizer read. Layers
    without namesakes are matched by order, where both graphs hold the same sequence of layer types. Where differences only
    grow slowly, the first node above the threshold comes back; None: no matched tensor is above it. Both graphs run as written.
    """
    one, two = Graph(load_model(reference)), Graph(load_model(other))
    pairs = _matches(one, two)
    expected = trace(one.model, feeds, tensors=list(dict.fromkeys(pairs.values())))
    actual = trace(two.model, feeds, tensors=list(pairs))
    differences: dict[str, float] = {}
    first: Divergence | None = None
    for node in two.proto.node:
        inherited = max((differences.get(name, 0.0) for name in node.input), default=0.0)
        for name in node.output:
            differences[name] = inherited  # where nothing matches, the difference is handed on
            if name not in pairs or expected[pairs[name]].dtype.kind != "f" or actual[name].dtype.kind != "f":
                continue
            differences[name] = relative_difference(expected[pairs[name]], actual[name])
            if differences[name] <= threshold:
                continue
            found = _describe(two, node, name, pairs[name], (expected[pairs[name]], actual[name]), (differences[name], inherited))
            if differences[name] >= JUMP * inherited:
                return found
            first = first or found
    return first


def _matches(one: Graph, two: Graph) -> dict[str, str]:
    """Tensor of the other graph -> tensor of the reference."""
    pairs = {name: name for name in two.producers if name in one.producers}
    for name, node in two.producers.items():
        codes = two.producer(node.input[0], op_type="QuantizeLinear") if node.op_type == "DequantizeLinear" else None
        if name not in pairs and codes is not None and codes.input[0] in one.producers:
            pairs[name] = codes.input[0]
    layers = [[node for node in graph.proto.node if node.op_type in LAYERS] for graph in (one, two)]
    if [node.op_type for node in layers[0]] == [node.op_type for node in layers[1]]:
        for left, right in zip(*layers, strict=True):
            pairs.setdefault(right.output[0], left.output[0])
    pairs |= {name: ours for name, ours in zip(two.output_names, one.output_names, strict=False) if name not in pairs}
    return pairs


def _describe(
    graph: Graph,
    node: onnx.NodeProto,
    tensor: str,
    reference_tensor: str,
    values: tuple[np.ndarray, np.ndarray],
    differences: tuple[float, float],
) -> Divergence:
    a, b = values
    gap = float(np.max(np.abs(a.astype(np.float64) - b))) if a.shape == b.shape and a.size else float("inf")
    return Divergence(
        node=node_label(node),
        op_type=node.op_type,
        layer=_layer(graph, node),
        tensor=tensor,
        reference_tensor=reference_tensor,
        relative_difference=differences[0],
        inherited=differences[1],
        max_difference=gap,
        reference_range=(float(a.min()), float(a.max())),
        range=(float(b.min()), float(b.max())),
        scale=_scale(graph, node),
    )


def _layer(graph: Graph, node: onnx.NodeProto) -> str:
    """The node itself where it computes, or the first layer downstream of it through nodes with one reader."""
    while node.op_type not in LAYERS:
        readers = graph.consumers(node.output[0])
        if not readers:
            break
        node = next((reader for reader in readers if reader.op_type in LAYERS), readers[0])
    return node_label(node)


def _scale(graph: Graph, node: onnx.NodeProto) -> list[float]:
    quantizer = node if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None
    if quantizer is None and len(node.input) > 1:
        quantizer = graph.producer(node.input[1], op_type="DequantizeLinear")
    scale = graph.input_value(quantizer, 1) if quantizer is not None else None
    return [] if scale is None else [float(value) for value in np.ravel(scale)]
