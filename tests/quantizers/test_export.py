"""What is trained is what is exported: the frozen model against its ONNX file, run without graph optimisation."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from compress.errors import CompressError
from compress.io_spec import Port
from compress.models.classifier import Classifier, Head
from compress.models.text import TextEncoder
from compress.models.vision import mobilenet_v4
from compress.quantizers import calibrate, freeze, prepare, qdq_opset, quantized_modules
from compress.recipe.sections import Quantize


class Wrapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image, text):
        return self.model({"image": image, "text": text})


def export(model: nn.Module, inputs: dict, *, opset: int) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=64)
    with qdq_opset(opset):
        program = torch.onnx.export(
            Wrapped(model).eval(),
            (inputs["image"], inputs["text"]),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes={"image": {0: batch}, "text": {0: batch}},
            input_names=["image", "text"],
            output_names=["logits"],
            verbose=False,
        )
    return program.model_proto


def run(proto: onnx.ModelProto, inputs: dict) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]


@pytest.fixture(scope="module")
def exported(make_student, batches, draw):
    model = prepare(make_student(), Quantize())
    calibrate(model, batches)
    frozen = freeze(model)
    return frozen, export(frozen, draw(2, seed=0), opset=20)


@pytest.fixture(scope="module")
def mixed(batches, draw):
    """The builders' own encoders, 4-bit activations, opset 18, one convolution kept in float."""
    torch.manual_seed(0)
    encoders = {
        "image": mobilenet_v4(Port("image", "uint8", (32, 32, 3), 0, 255), width=0.25, stem_stride=1, out=16),
        "text": TextEncoder(vocabulary=23, length=6, width=16, layers=1, heads=2, feedforward=32),
    }
    model = Classifier(encoders, Head({"image": 16, "text": 16}, hidden=16, classes=5))
    for seed in range(5):
        model(draw(16, seed=50 + seed))
    config = Quantize(activation_bits=4, keep_float=["encoders.image.body.1", "encoders.text.layers.0.expand"], learned_step_size=True)
    model = prepare(model.eval(), config)
    calibrate(model, batches)
    frozen = freeze(model)
    return frozen, export(frozen, draw(2, seed=0), opset=18)


def agree(frozen: nn.Module, proto: onnx.ModelProto, inputs: dict) -> None:
    with torch.no_grad():
        expected = frozen(inputs)
        expected = getattr(expected, "logits", expected).numpy()
    got = run(proto, inputs)
    difference = np.abs(got - expected)
    # sums in another order may push a value over the edge between two steps, so single rows may be off by about one step
    assert np.median(difference) < 1e-4 * np.abs(expected).max()
    assert difference.max() < 0.05 * np.abs(expected).max()
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.97
    assert expected.std() > 1e-3


def test_onnx_file_computes_what_torch_computes(exported, draw) -> None:
    agree(*exported, draw(64, seed=9))


def test_onnx_file_is_valid_and_has_the_opset_asked_for(exported, mixed) -> None:
    for (_, proto), opset in ((exported, 20), (mixed, 18)):
        onnx.checker.check_model(proto, full_check=True)
        assert [(o.domain, o.version) for o in proto.opset_import] == [("", opset)]


def test_onnx_weights_are_int8_with_float_bias(exported) -> None:
    frozen, proto = exported
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    stored = [t for t in tensors.values() if t.dtype == np.int8 and t.ndim > 1]
    layers = [layer for layer in quantized_modules(frozen).values() if layer.kind in ("conv", "linear", "embedding")]
    assert sorted(t.shape for t in stored) == sorted(tuple(layer.weight_quant.integers.shape) for layer in layers)
    assert not [name for name, t in tensors.items() if t.dtype == np.float32 and t.ndim > 1 and t.size > 64]
    assert not [t for t in tensors.values() if t.dtype in (np.int32, np.uint8)]


def test_onnx_zero_points_are_zero_and_weights_have_axis_0(exported) -> None:
    _, proto = exported
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = [n for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(not tensors[n.input[2]].any() and tensors[n.input[2]].dtype == np.int8 for n in nodes)
    channelwise = [n for n in nodes if tensors[n.input[1]].ndim]
    assert len(channelwise) == 9  # 4 convolutions and 5 linears
    assert all({a.name: a.i for a in n.attribute} == {"axis": 0} and n.input[0] in tensors for n in channelwise)


def test_onnx_convolutions_and_sums_read_quantized_tensors(exported) -> None:
    _, proto = exported
    makers = {name: n for n in proto.graph.node for name in n.output}
    convolutions = [n for n in proto.graph.node if n.op_type == "Conv"]
    assert len(convolutions) == 4
    assert all(makers[name].op_type == "DequantizeLinear" for n in convolutions for name in n.input[:2])
    sums = [
        n for n in proto.graph.node if n.op_type == "Add" and all(makers[i].op_type == "DequantizeLinear" for i in n.input if i in makers)
    ]
    assert any(len([i for i in n.input if i in makers]) == 2 for n in sums)
    gather = next(n for n in proto.graph.node if n.op_type == "Gather")
    assert next(n for n in proto.graph.node if gather.output[0] in n.input).op_type == "DequantizeLinear"


def test_onnx_of_the_builders_student_with_float_layers_computes_what_torch_computes(mixed, draw) -> None:
    agree(*mixed, draw(64, seed=9))


def test_onnx_layer_after_a_float_one_reads_a_quantized_tensor(mixed) -> None:
    _, proto = mixed
    makers = {name: n for n in proto.graph.node for name in n.output}
    convolutions = [n for n in proto.graph.node if n.op_type == "Conv"]
    in_float = [n for n in convolutions if n.input[1] not in makers]
    assert len(in_float) == 1  # the one that was kept
    others = [n for n in convolutions if n is not in_float[0]]
    assert len(others) > 10
    assert all(makers[n.input[0]].op_type == "DequantizeLinear" for n in others)


def test_export_of_a_model_that_is_not_frozen_is_refused(make_student, batches, draw) -> None:
    model = prepare(make_student(), Quantize())
    calibrate(model, batches)
    inputs = draw(2, seed=0)
    with pytest.raises(CompressError, match=r"export freeze\(model\)"):
        torch.export.export(Wrapped(model).eval(), (inputs["image"], inputs["text"]), strict=False)
