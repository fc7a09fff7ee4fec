"""From torch to an ONNX graph that is fit to be saved, and what a look at torch's own layers tells about that graph."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from compress.graphs.clean import set_ir_version, strip_metadata
from compress.graphs.diverge import Gap, Grid, by_order, compare_layers, off_centre, relative_difference
from compress.graphs.graph import Graph
from compress.graphs.linear import own_weights
from compress.graphs.trace import Feeds, load_model, trace
from compress.io_spec import SHARES, IOSpec, Outputs
from compress.models.classifier import ByPort
from compress.quantizers.fake_quant import ActivationQuant

IR_VERSION = 10  # what ONNX Runtime 1.18 and JetPack's TensorRT read


def export_module(model: nn.Module, io: IOSpec, opset: int) -> onnx.ModelProto:
    """The graph of a model in eval mode, inputs and outputs named by its ports, batch dynamic."""
    example = tuple(torch.zeros((2, *port.shape), dtype=getattr(torch, port.dtype)) for port in io.inputs)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings(), quiet("torch.onnx", "onnxscript", "torch.export"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations, nothing that a user could act on
        program = torch.onnx.export(
            ByPort(model, io).eval(),
            example,
            dynamo=True,
            opset_version=opset,
            input_names=list(io.modalities),
            output_names=[port.name for port in io.outputs],
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            external_data=False,
            verbose=False,
        )
    assert program
    return program.model_proto


class quiet:
    """A context in which these loggers only report errors."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes and local paths, in an IR version that old runtimes read."""
    graph = Graph.copy_of(strip_metadata(model, value_info=True))
    own_weights(graph)  # ONNX Runtime cannot load a file whose int8 layers share a zero point while it keeps products exact
    return set_ir_version(graph.model, IR_VERSION)


def save(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Writes the cleaned model and gives it back."""
    model = clean(model)
    onnx.save(model, path)
    return model


def run_torch(model: nn.Module, feeds: Feeds) -> np.ndarray:
    """Logits (R, K) of a torch model, as `side_by_side` has them."""
    return side_by_side(ask_torch(model, feeds))


@torch.no_grad()
def ask_torch(model: nn.Module, feeds: Feeds, *, batch: int = 64) -> Feeds:
    """What a torch model gives by the names of its ports, as its graph would."""
    rows = len(next(iter(feeds.values())))
    found = [model({m: torch.from_numpy(x[i : i + batch]) for m, x in feeds.items()}) for i in range(0, rows, batch)]
    names = ["logits"] if found[0].shares is None else ["logits", SHARES]
    return {name: np.concatenate([getattr(part, name).numpy() for part in found]) for name in names}


def side_by_side(outputs: Feeds) -> np.ndarray:
    """Logits (R, K) and, of a student that tells its shares, these behind them: (R, K + M)."""
    return np.concatenate([outputs["logits"], outputs[SHARES]], 1) if SHARES in outputs else outputs["logits"]


def compare_quantizers(model: nn.Module, graph: onnx.ModelProto, feeds: Feeds) -> list[Gap]:
    """How far the graph of a fake-quantized model is off from one quantizer to the next, and from the last one to the outputs.

    Zero points alone where the graph has not as many quantizers as the model called; for the rest its logits tell.
    """
    calls, outputs = called_quantizers(model, feeds)
    reference = by_order([(output.numpy(), _symmetric_grid(quantizer)) for quantizer, output in calls], graph)
    if reference is None:
        return off_centre(graph)
    reference.values.update(outputs)
    return [*off_centre(graph), *compare_layers(reference, graph, feeds)]


def called_quantizers(model: nn.Module, feeds: Feeds) -> tuple[list[tuple[ActivationQuant, Tensor]], Feeds]:
    """The activation quantizers of a model with what they gave, in the order of their calls, and the model's outputs by name."""
    called: dict[tuple[int, int], tuple[Tensor, ActivationQuant, Tensor]] = {}

    def note(quantizer: ActivationQuant, inputs: tuple[Tensor], output: Tensor) -> None:
        key = (id(quantizer), id(inputs[0]))  # the exporter merges equal calls; the tensor is kept, so that no other takes its id
        called.setdefault(key, (inputs[0], quantizer, output.detach()))

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, ActivationQuant)]
    outputs = ask_torch(model, feeds)
    for hook in hooks:
        hook.remove()
    return [(quantizer, output) for _, quantizer, output in called.values()], outputs


def _symmetric_grid(quantizer: ActivationQuant) -> Grid:
    step = float(quantizer.scale if quantizer.log_scale is None else quantizer.log_scale.detach().exp())
    return Grid(step, -128 * step, 127 * step)


def unsigned_codes(symmetric: onnx.ModelProto, written: onnx.ModelProto) -> tuple[bool, ...]:
    """Of each activation quantizer of the symmetric graph, in its order, whether the file that was made of it has codes from 0 to 255 there."""
    after, found = Graph(written), []
    for quantizer in Graph(symmetric).quantizers():
        node = after.producer(quantizer.output[0], op_type="QuantizeLinear")
        zero = after.input_value(node, 2) if node is not None else None
        found.append(zero is not None and zero.dtype == np.uint8 and not zero.any())
    return tuple(found)


def take_codes(model: nn.Module, unsigned: tuple[bool, ...], feeds: Feeds) -> bool:
    """Gives the activation quantizers of a model these codes, in the order of their calls.

    False, and nothing done, where the model calls more or fewer of them.
    """
    calls, _ = called_quantizers(model, feeds)
    if len(unsigned) != len(calls):
        return False
    for on, (quantizer, _) in zip(unsigned, calls, strict=True):
        quantizer.set_unsigned(on)
    return True


@torch.no_grad()
def first_lost_layer(model: nn.Module, graph: onnx.ModelProto | Path, feeds: Feeds, *, tolerance: float = 0.02) -> str | None:
    """The first layer of a torch model whose output no tensor of its graph holds; None where nothing is lost.

    Exporters rename and fuse, so tensors are matched by shape and value. A fused layer's own output is absent from a sound graph
    too; what follows it is not, so a layer counts as lost when nothing behind it in its branch (an encoder, the head) is found.
    """
    outputs: dict[str, np.ndarray] = {}  # in the order in which layers finish

    def note(name: str, output: object) -> None:
        output = output.logits if isinstance(output, Outputs) else output
        if isinstance(output, Tensor) and name not in outputs:
            outputs[name] = output.numpy()

    hooks = [m.register_forward_hook(lambda _m, _i, output, name=name: note(name, output)) for name, m in model.named_modules() if name]
    model({m: torch.from_numpy(x) for m, x in feeds.items()})
    for hook in hooks:
        hook.remove()
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
    for array in trace(load_model(graph), feeds).values():
        by_shape.setdefault(array.shape, []).append(array)
    lost: dict[str, str] = {}  # branch -> its first layer behind the last one that was found
    for name, output in outputs.items():
        branch = ".".join(name.split(".")[:2])
        if any(relative_difference(output, array) <= tolerance for array in by_shape.get(output.shape, [])):
            lost.pop(branch, None)
        else:
            lost.setdefault(branch, name)
    return next((name for name in outputs if name in lost.values()), None)
