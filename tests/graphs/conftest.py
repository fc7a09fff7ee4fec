"""Small graphs built by hand, float32 and symmetric int8 QDQ, from one seeded description."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Adds layers one after the other; `quantized` puts Q/DQ pairs where the training quantizer would."""

    def __init__(self, *, quantized: bool, seed: int = 0) -> None:
        self.quantized, self.random = quantized, np.random.default_rng(seed)
        self.nodes, self.constants = [], {}

    def constant(self, name, array):
        self.constants[name] = np.asarray(array)
        return name

    def node(self, op_type, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=attributes.pop("name", output), **attributes))
        return output

    def activation(self, tensor, high):
        """int8, zero point 0, |x| up to `high`."""
        if not self.quantized:
            return tensor
        pair = [self.constant(f"{tensor}_scale", np.float32(high / 127)), self.constant(f"{tensor}_zero", np.int8(0))]
        self.node("QuantizeLinear", [tensor, *pair], f"{tensor}_q")
        return self.node("DequantizeLinear", [f"{tensor}_q", *pair], f"{tensor}_dq")

    def weight(self, name, shape, axis, deviation):
        array = (self.random.standard_normal(shape) * deviation).astype(np.float32)
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = (np.abs(array).max(others) / 127).astype(np.float32)
        codes = np.rint(array / scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])).astype(np.int8)
        if not self.quantized:
            return self.constant(name, array)
        self.constant(f"{name}_codes", codes), self.constant(f"{name}_scale", scale)
        self.constant(f"{name}_zero", np.zeros(shape[axis], np.int8))
        return self.node("DequantizeLinear", [f"{name}_codes", f"{name}_scale", f"{name}_zero"], name, axis=axis)

    def conv(self, x, name, channels, out, *, act="Relu", stride=1, groups=1, high=3.0):
        w = self.weight(f"{name}_w", (out, channels // groups, 3, 3), 0, (2 / (9 * channels / groups)) ** 0.5)
        b = self.constant(f"{name}_b", (self.random.standard_normal(out) * 0.1).astype(np.float32))
        last = self.node("Conv", [x, w, b], name, pads=[1] * 4, strides=[stride] * 2, group=groups)
        if act == "Relu":
            last = self.node("Relu", [last], f"{name}_relu")
        if act == "Clip":
            low, top = self.constant("clip_low", np.float32(0)), self.constant("clip_high", np.float32(6))
            last = self.node("Clip", [last, low, top], f"{name}_clip")
        return self.activation(last, high)

    def gemm(self, x, name, width, out):
        w = self.weight(f"{name}_w", (out, width), 0, width**-0.5)
        b = self.constant(f"{name}_b", (self.random.standard_normal(out) * 0.1).astype(np.float32))
        return self.node("Gemm", [x, w, b], name, transB=1)

    def linear(self, x, name, width, out):
        """MatMul + Add over a transposed weight, as exporters write nn.Linear on three axes."""
        w = self.node("Transpose", [self.weight(f"{name}_w", (out, width), 0, width**-0.5)], f"{name}_wt", perm=[1, 0])
        b = self.constant(f"{name}_b", (self.random.standard_normal(out) * 0.1).astype(np.float32))
        return self.node("Add", [self.node("MatMul", [x, w], f"{name}_product"), b], name)

    def model(self, inputs, output="logits", *, opset=18):
        """`inputs`: name -> (type, shape); the output is (batch, K) float32."""
        ports = [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()]
        out = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None])]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "student", ports, out, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        onnx.checker.check_model(model)
        return model


def convnet(*, quantized, opset=18):
    """(B, 3, 16, 16) -> stem, residual block, ReLU6 depthwise, max pool, global pool, Gemm -> (B, 5)."""
    b = Builder(quantized=quantized)
    x = b.activation("image", 4.0)
    stem = b.conv(x, "stem", 3, 8)
    left = b.conv(stem, "left", 8, 8, act=None, high=4.0)
    total = b.activation(b.node("Add", [left, stem], "total"), 5.0)
    deep = b.conv(total, "deep", 8, 8, act="Clip", groups=8, stride=2, high=6.2)
    top = b.activation(b.node("MaxPool", [deep], "pool", kernel_shape=[2, 2], strides=[2, 2]), 6.2)
    last = b.conv(top, "last", 8, 16, high=6.0)
    flat = b.node("Flatten", [b.node("GlobalAveragePool", [last], "mean")], "flat")
    b.gemm(b.activation(flat, 3.0), "logits", 16, 5)
    return b.model({"image": (TensorProto.FLOAT, ["batch", 3, 16, 16])}, opset=opset)


def mixer(*, quantized):
    """(B, 6, 16) -> two linears with ReLU between, mean over tokens, 2-D MatMul + Add -> (B, 4)."""
    b = Builder(quantized=quantized, seed=1)
    hidden = b.node("Relu", [b.linear(b.activation("text", 4.0), "up", 16, 32)], "up_relu")
    out = b.linear(b.activation(hidden, 4.0), "down", 32, 16)
    axes = b.constant("axes", np.array([1], np.int64))
    mean = b.node("ReduceMean", [out, axes], "mean", keepdims=0)
    b.linear(b.activation(mean, 2.0), "logits", 16, 4)
    return b.model({"text": (TensorProto.FLOAT, ["batch", 6, 16])})


@pytest.fixture
def builder():
    return Builder


@pytest.fixture
def int8_convnet():
    return convnet(quantized=True)


@pytest.fixture
def float_convnet():
    return convnet(quantized=False)


@pytest.fixture
def int8_mixer():
    return mixer(quantized=True)


@pytest.fixture
def float_mixer():
    return mixer(quantized=False)


@pytest.fixture
def images():
    return {"image": np.random.default_rng(5).standard_normal((64, 3, 16, 16)).astype(np.float32)}


@pytest.fixture
def texts():
    return {"text": np.random.default_rng(6).standard_normal((64, 6, 16)).astype(np.float32)}


@pytest.fixture
def edit():
    """Replaces an initialiser of the model in place."""

    def replace(model, name, array):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(array), name))
        return model

    return replace


@pytest.fixture
def byte_reader():
    def build(step=1 / 64, *, gain=1 / 64, shift=-2.0):
        """uint8 pixels -> Cast, Transpose, Mul, Add, Q/DQ at `step`, a convolution, global pool -> (B, 4)."""
        b = Builder(quantized=True)
        b.node("Cast", ["pixels"], "float", to=TensorProto.FLOAT)
        b.node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
        b.node("Mul", ["planes", b.constant("gain", np.float32(gain))], "scaled")
        b.node("Add", ["scaled", b.constant("shift", np.float32(shift))], "image")
        x = b.conv(b.activation("image", 127 * step), "stem", 3, 4)
        b.node("GlobalAveragePool", [x], "pooled")
        b.node("Flatten", ["pooled"], "logits")
        return b.model({"pixels": (TensorProto.UINT8, ["batch", 8, 8, 3])})

    return build
