"""Makes an exported ONNX file fit to ship: no exporter's notes or local paths, a loadable IR version, fewer nodes, known size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx
from onnx import numpy_helper

from compress.errors import CompressError
from compress.graphs.graph import Graph


def strip_metadata(model: onnx.ModelProto, *, value_info: bool = False) -> onnx.ModelProto:
    """A copy without metadata_props and doc_strings (stack traces, local paths) in any graph; `value_info`: types of inner tensors go too."""
    clean = Graph.copy_of(model).model
    clean.doc_string = ""
    del clean.metadata_props[:]
    for function in clean.functions:
        _forget_notes([function, *function.node, *function.value_info])
    _strip_graph(clean.graph, value_info=value_info)
    return clean


def _strip_graph(graph: onnx.GraphProto, *, value_info: bool) -> None:
    if value_info:
        del graph.value_info[:]
    _forget_notes([graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output])
    for node in graph.node:
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.type == onnx.AttributeProto.GRAPH:
                _strip_graph(attribute.g, value_info=value_info)


def _forget_notes(items: Iterable) -> None:
    for item in items:
        item.doc_string = ""
        del item.metadata_props[:]


def set_ir_version(model: onnx.ModelProto, version: int = 10) -> onnx.ModelProto:
    """A copy with that IR version, checked by onnx.

    Raises:
        CompressError: an operator set of the model needs a newer IR version, or the checker refuses the result.
    """
    needed = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    if needed > version:
        sets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
        raise CompressError(f"model.ir_version: {version} cannot hold {sets} (it needs {needed}). Export with opset 18 to 20.")
    clean = Graph.copy_of(model).model
    clean.ir_version = version
    try:
        onnx.checker.check_model(clean)
    except onnx.checker.ValidationError as error:
        raise CompressError(f"model.ir_version: {version} gives a file that onnx refuses: {error}. Export with opset 18 to 20.") from error
    return clean


def weights_on_disk(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes of initialisers and Constant values by numpy dtype name, largest first."""
    sizes: Counter[str] = Counter()
    graph = Graph(model)
    names = [t.name for t in model.graph.initializer] + [n.output[0] for n in model.graph.node if n.op_type == "Constant"]
    for name in names:
        if (array := graph.value(name)) is not None:
            sizes[array.dtype.name] += array.nbytes
    return dict(sizes.most_common())


def size_report(model: onnx.ModelProto, *, largest: int = 10) -> dict:
    """Where the bytes are: file, weights by dtype, the rest (nodes, names, notes), and the largest initialisers."""
    total, weights = model.ByteSize(), weights_on_disk(model)
    tensors = sorted(model.graph.initializer, key=lambda t: -t.ByteSize())[:largest]
    rows = [{"name": t.name, "dtype": numpy_helper.to_array(t).dtype.name, "shape": list(t.dims), "bytes": t.ByteSize()} for t in tensors]
    return {
        "file_bytes": total,
        "weight_bytes": weights,
        "other_bytes": total - sum(weights.values()),
        "nodes": len(model.graph.node),
        "largest": rows,
    }
