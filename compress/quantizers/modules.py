"""The quantized layers, one for each kind of layer that a student is built from (compress/models/layers.py).

ConvNorm, Sum and FrontEnd quantize their output; Linear its input. Convolutions and sums therefore read quantized tensors,
which is what ONNX Runtime needs to fuse them and TensorRT to run them in int8. Each layer can be switched to float and back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import CompressError
from compress.models.layers import ConvNorm, FrontEnd, Sum
from compress.quantizers.fake_quant import ActivationQuant, FixedQuant, Switch, WeightQuant
from compress.recipe.sections import Quantize


class QuantLayer(nn.Module):
    """A layer that runs in int8, or in float while `floating` is on.

    The weight is a parameter of the layer until `bake`; then it is None, and int8 integers are kept instead.
    """

    kind = ""
    weight: Tensor | None
    weight_quant: WeightQuant

    def __init__(self) -> None:
        super().__init__()
        self.name = ""  # dotted path in the model, for messages
        self.floating = Switch(False)
        self.register_parameter("weight", None)

    def quantized_weight(self) -> Tensor:
        """The weight that this layer computes with."""
        return self.weight if self.floating.on and self.weight is not None else self.weight_quant(self.weight)

    def bake(self) -> None:
        """Replaces the float weight by int8, unless the layer is in float; the ranges stay as they are."""
        if self.weight is not None and not self.floating.on:
            self.weight_quant.bake(self.weight)
            self.weight = None


class OutputLayer(QuantLayer):
    """A layer that quantizes its output. In float it leaves this to each int8 layer that reads the output.

    So a layer after a float one still reads int8, by the range of the tensor's maker, and float neighbours lose nothing.
    """

    output_quant: ActivationQuant

    def emit(self, y: Tensor) -> Tensor:
        """The output, quantized or not, with a note of who made it."""
        if not self.floating.on or self.output_quant.collecting:
            y = self.output_quant(y)
        y.made_by = self  # type: ignore[attr-defined]
        return y

    def take(self, x: Tensor) -> Tensor:
        """An input of this layer, quantized, unless this layer is in float. Raises CompressError when nobody could quantize it."""
        if self.floating.on:
            return x
        maker = getattr(x, "made_by", None)
        if maker is None:
            raise CompressError(
                f"{self.name}: its input is not the direct output of a ConvNorm, a Sum or a FrontEnd, so it has no range and would run in float;"
                " build it from those layers, or list it under quantize.keep_float"
            )
        return maker.output_quant(x) if maker.floating.on else x


class QuantConvNorm(OutputLayer):
    """Convolution and activation with int8 weight and output: (B, C, H, W) -> (B, C', H/s, W/s). The norm is folded already."""

    kind = "conv"

    def __init__(self, folded: ConvNorm, config: Quantize) -> None:
        super().__init__()
        conv = folded.conv
        self.weight, self.bias, self.act = conv.weight, conv.bias, folded.act
        self.geometry: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups}
        self.weight_quant = WeightQuant(bits=config.weight_bits, per_channel=config.per_channel)
        self.output_quant = activation_quant(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self.take(x)
        return self.emit(self.act(nn.functional.conv2d(x, self.quantized_weight(), self.bias, **self.geometry)))


class QuantSum(OutputLayer):
    """a + b, and the ReLU behind where there is one, with int8 output."""

    kind = "sum"

    def __init__(self, added: Sum, config: Quantize) -> None:
        super().__init__()
        self.act = added.act
        self.output_quant = activation_quant(config)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.emit(self.act(self.take(a) + self.take(b)))


class QuantFrontEnd(OutputLayer):
    """A front end as it is, in float, its output on the int8 grid, so that the first convolution is int8 too: raw -> (B, C, H, W)."""

    def __init__(self, front: FrontEnd, config: Quantize) -> None:
        super().__init__()
        self.front, self.kind = front, front.kind
        self.output_quant = activation_quant(config) if front.step is None else FixedQuant(front.step)

    def forward(self, raw: Tensor) -> Tensor:
        return self.emit(self.front(raw))


class QuantLinear(QuantLayer):
    """x W^T + b with int8 input and weight, float bias and output: (..., D) -> (..., D')."""

    kind = "linear"

    def __init__(self, linear: nn.Linear, config: Quantize) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.input_quant = activation_quant(config)
        self.weight_quant = WeightQuant(bits=config.weight_bits, per_channel=config.per_channel)

    def forward(self, x: Tensor) -> Tensor:
        if not self.floating.on or self.input_quant.collecting:
            x = self.input_quant(x)
        return nn.functional.linear(x, self.quantized_weight(), self.bias)


class QuantEmbedding(QuantLayer):
    """Rows of an int8 table: ids (...) -> (..., D). One scale a table, so that ONNX gathers int8 and dequantizes what it gathered."""

    kind = "embedding"

    def __init__(self, embedding: nn.Embedding, config: Quantize) -> None:
        super().__init__()
        self.weight, self.padding = embedding.weight, embedding.padding_idx
        self.weight_quant = WeightQuant(bits=config.weight_bits, per_channel=False)

    def forward(self, ids: Tensor) -> Tensor:
        quant = self.weight_quant
        if quant.integers is not None:
            return quant.dequantize(nn.functional.embedding(ids, quant.integers))
        assert self.weight is not None
        rows = nn.functional.embedding(ids, self.weight, self.padding)
        if self.floating.on:
            return rows
        if torch.compiler.is_exporting():
            raise CompressError(f"{self.name}: exported with a float table: export freeze(model), not the model in training")
        return quant.quantize(rows, quant.find_scale(self.weight))  # only the rows in use: same values as the whole table, cheaper


def activation_quant(config: Quantize) -> ActivationQuant:
    """An activation quantizer as the recipe asks for."""
    return ActivationQuant(bits=config.activation_bits, observer=config.observer, learned=config.learned_step_size)


def quantized_layer(layer: nn.Module, config: Quantize, *, name: str) -> QuantLayer | None:
    """The int8 form of one layer, sharing its parameters; None for layers that stay in float.

    Raises CompressError for an embedding whose rows change when they are looked up (max_norm).
    """
    made: QuantLayer
    if isinstance(layer, ConvNorm):
        made = QuantConvNorm(layer, config)
    elif isinstance(layer, Sum):
        made = QuantSum(layer, config)
    elif isinstance(layer, FrontEnd):
        made = QuantFrontEnd(layer, config)
    elif type(layer) is nn.Linear:  # not subclasses: nn.MultiheadAttention reads the weight of its own past the forward call
        made = QuantLinear(layer, config)
    elif type(layer) is nn.Embedding:
        if layer.max_norm is not None:
            raise CompressError(f"{name}: an embedding with max_norm={layer.max_norm} cannot be quantized; build it without")
        made = QuantEmbedding(layer, config)
    else:
        return None
    made.name = name
    return made


@torch.no_grad()
def fold_norms(model: nn.Module) -> nn.Module:
    """The same model, in place, with each ConvNorm's batch norm in the convolution: exact in eval mode.

    Formula: w' = w g / sqrt(v + eps), b' = beta - mean g / sqrt(v + eps), in float64; the norm becomes nn.Identity.
    """
    for module in model.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            _fold(module, module.norm)
    return model


def _fold(block: ConvNorm, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise CompressError("a batch norm without running statistics cannot be folded; build it with track_running_stats=True")
    conv = block.conv
    gain = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    start = conv.bias.double() if conv.bias is not None else torch.zeros_like(gain)
    bias = norm.bias.double() + (start - mean.double()) * gain
    conv.weight.copy_(conv.weight.double() * gain.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype))
    block.norm = nn.Identity()
