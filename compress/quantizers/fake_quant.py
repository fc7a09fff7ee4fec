"""Fake quantization that survives export: int8 in training, in ONNX as Q/DQ nodes.

`ActivationQuant` holds one scale a tensor, `WeightQuant` one an output channel. In eval mode activations are quantized by
the very formula of ONNX's QuantizeLinear (division, round half to even, saturate), so that torch and ONNX agree bit for bit.
aten::fake_quantize_* cannot be exported (no Meta kernel), hence the symbolic nodes. The exported graph is symmetric throughout;
compress/graphs/retarget.py makes each target's file of it, and `unsigned` is what that does to a tensor without negative values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn

from compress.errors import CompressError, DataError
from compress.placement import CPU
from compress.quantizers.observers import OBSERVERS

SMALLEST_STEP = 2.0**-20  # floor of every scale: a channel of zeros has none, and bias / (step * step) must fit an int32
UNSIGNED_LEVELS = 255  # the largest code of a uint8
_OPSET: ContextVar[int] = ContextVar("qdq_opset", default=20)


@contextmanager
def qdq_opset(opset: int) -> Iterator[None]:
    """Inside, exported Q/DQ nodes are those of this ONNX opset; give it what `torch.onnx.export` is given."""
    token = _OPSET.set(opset)
    try:
        yield
    finally:
        _OPSET.reset(token)


def quantize_node(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """An ONNX QuantizeLinear in the graph that is being exported: float x -> int8, same shape."""
    return torch.onnx.ops.symbolic("QuantizeLinear", (x, scale, zero), dtype=torch.int8, shape=x.shape, version=_OPSET.get())


def dequantize_node(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """An ONNX DequantizeLinear: int8 x -> float32; scale () a tensor, or (C,) along axis 0."""
    attributes: dict[str, Any] = {"axis": 0} if scale.ndim else {}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear", (x, scale, zero), attrs=attributes, dtype=torch.float32, shape=x.shape, version=_OPSET.get()
    )


def largest_level(bits: int) -> int:
    """2^(bits - 1) - 1: the largest integer of a symmetric range."""
    return 2 ** (bits - 1) - 1


class Switch(nn.Module):
    """A boolean that state_dict carries; `on` is its Python copy, because a branch on a tensor syncs and cannot be exported."""

    value: Tensor

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(on))
        self.on = on

    def set(self, on: bool) -> None:
        """Sets the buffer and its copy."""
        self.value.fill_(on)
        self.on = on

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.on = bool(self.value)


class ActivationQuant(nn.Module):
    """x -> clamp(round(x / scale)) * scale, one scale a tensor, zero point 0.

    8 bits clip to [-128, 127], as QuantizeLinear saturates; fewer bits to +-(2^(bits-1) - 1), stored as int8. While `unsigned` is on, codes
    are 0 to 255 with scale * 127 / 255: the same clip, twice as fine, for values that calibration never saw below 0.
    `observing` ranges follow the data, in training mode alone; frozen ones stay. A learned scale (LSQ, arXiv 1902.08153)
    starts at the calibrated range and is trained as its logarithm, so that it stays positive and Adam's step is relative.
    """

    seen: Tensor  # () int64, batches observed; 0: not calibrated
    scale: Tensor  # () float32
    zero: Tensor  # () int8
    negative: Tensor  # () bool, whether calibration saw a value below 0
    least: Tensor | None  # () float32, smallest and largest value of a range of fewer than 8 bits, once fixed
    most: Tensor | None
    log_scale: nn.Parameter | None

    def __init__(self, *, bits: int = 8, observer: str = "moving_average", learned: bool = False) -> None:
        super().__init__()
        self.levels = largest_level(bits)
        self.low = -128 if bits == 8 else -self.levels
        self.observer = OBSERVERS[observer]()
        self.observing = Switch(True)
        self.collecting = False  # only inside `calibrate`: look, and let x pass
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero", torch.tensor(0, dtype=torch.int8), persistent=False)
        self.register_buffer("negative", torch.tensor(False))
        self.unsigned = Switch(False)
        self.register_buffer("least", None, persistent=False)
        self.register_buffer("most", None, persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(0.0)) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape; the same shape, float32, on the int8 grid."""
        if torch.compiler.is_exporting():
            return self._export(x)
        x = x.float()  # under autocast: steps of int8 do not fit a bfloat16's mantissa
        if self.collecting or (self.training and self.observing.on):
            self._observe(x)
        if self.collecting:
            return x
        scale, low, high = self.scale if self.log_scale is None else self.log_scale.exp(), self.low, self.levels
        if self.unsigned.on:
            scale, low, high = (scale.double() * self.levels / UNSIGNED_LEVELS).float(), 0, UNSIGNED_LEVELS
        if self.log_scale is not None:
            return _learn(x, scale, low, high)
        if self.training:
            if x.device.type == CPU:
                return cast(Tensor, _Rounded.apply(x, scale, low, high))
            return torch.fake_quantize_per_tensor_affine(x, scale, self.zero.int(), low, high)
        return torch.round(x / scale).clamp(low, high) * scale

    def set_unsigned(self, on: bool) -> None:
        """Switches to codes from 0 to 255 or back; without effect on fewer than 8 bits and where a value may lie below 0."""
        self.unsigned.set(on and self.low == -128 and not bool(self.negative))

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        if self.collecting:
            self.negative |= (x < 0).any()
        self.observer.update(x)
        self.seen += 1
        if self.observer.moves_in_training:
            self._set_scale()

    def _set_scale(self) -> None:
        self.scale.copy_((self.observer.clip(self.levels) / self.levels).clamp(min=SMALLEST_STEP))

    def _export(self, x: Tensor) -> Tensor:
        if self.most is None:
            raise CompressError("the model is exported with ranges that still move: export freeze(model), not the model in training")
        if self.low != -128:
            # a Clip of our own, because torch 2.13 exports clamp with tensor bounds to an invalid graph at opset 18
            x = torch.onnx.ops.symbolic("Clip", (x, self.least, self.most), dtype=x.dtype, shape=x.shape, version=_OPSET.get())
        return dequantize_node(quantize_node(x, self.scale, self.zero), self.scale, self.zero)

    @torch.no_grad()
    def settle(self) -> None:
        """Ends calibration: sets the scale from what was seen; a histogram's range and a learned scale leave the observer there."""
        self._set_scale()
        if self.log_scale is not None:
            self.log_scale.copy_(self.scale.log())
        if self.log_scale is not None or not self.observer.moves_in_training:
            self.observing.set(False)

    @torch.no_grad()
    def fix(self) -> None:
        """Freezes the range for good; a learned scale becomes a constant."""
        self.observing.set(False)
        if self.log_scale is not None:
            self.scale.copy_(self.log_scale.exp())
            self.log_scale = None
        self.least, self.most = self.low * self.scale, self.levels * self.scale

    def check(self, name: str) -> None:
        """Raises DataError, naming the module, when there is no range or it is NaN or infinite."""
        if not int(self.seen):
            raise DataError(f"{name}: no range, because no calibration batch came through; calibrate, or list it under quantize.keep_float")
        clip = self.observer.clip(self.levels)
        scale = self.scale if self.log_scale is None else self.log_scale.detach().exp()
        if not (torch.isfinite(clip) and torch.isfinite(scale)):
            raise DataError(
                f"{name}: the range of its values is {float(clip)} (scale {float(scale)}); look for NaN or infinity in the inputs or the weights before it"
            )


class _Rounded(torch.autograd.Function):
    """What torch.fake_quantize_per_tensor_affine computes, forth and back, for a processor: its kernel there works value by value.

    Of 3.1 M values, one thread: 2.5 ms forth and 1.6 back in place of 34 and 5.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:  # type: ignore[override]
        step = float(scale)
        ctx.save_for_backward(x)
        ctx.inside = (low - 0.5) * step, (high + 0.5) * step
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(slope, x, *ctx.inside), None, None, None  # passes what is inside


def _learn(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """LSQ: d/dscale = round(x/scale) - x/scale inside the range, the bound outside, times 1 / sqrt(features * high)."""
    share = (max(1, x[0].numel() if x.ndim else 1) * high) ** -0.5
    scale = (scale - scale * share).detach() + scale * share
    steps = (x / scale).clamp(low, high)
    return ((steps.round() - steps).detach() + steps) * scale


class FixedQuant(ActivationQuant):
    """x -> clamp(round(x / scale), -128, 127) * scale with a scale that is known beforehand and that nothing moves."""

    def __init__(self, scale: float) -> None:
        super().__init__(observer="minmax")
        self.scale.fill_(scale)
        self.negative.fill_(True)  # its codes are known, too
        self.observing.set(False)

    def _observe(self, x: Tensor) -> None:
        self.seen += 1

    def _set_scale(self) -> None:
        pass


class WeightQuant(nn.Module):
    """w -> clamp(round(w / scale), -L, L) * scale with L = 2^(bits-1) - 1; the scale is max |w| / L, an output channel or a tensor.

    The scale follows the weights until `bake`, which keeps int8 integers instead of them.
    """

    integers: Tensor | None  # (C, ...) int8
    scale: Tensor | None  # (C,) or () float32
    zero: Tensor | None  # as scale, int8

    def __init__(self, *, bits: int = 8, per_channel: bool = True) -> None:
        super().__init__()
        self.levels, self.per_channel = largest_level(bits), per_channel
        self.register_buffer("integers", None)
        self.register_buffer("scale", None)
        self.register_buffer("zero", None, persistent=False)

    def forward(self, weight: Tensor | None) -> Tensor:
        """(C, ...) float32 -> the same on the int8 grid; once baked, the argument is not read."""
        if self.integers is not None:
            return self.dequantize(self.integers)
        if torch.compiler.is_exporting() or weight is None:
            raise CompressError("the model is exported with float weights: export freeze(model), not the model in training")
        return self.quantize(weight, self.find_scale(weight))

    @torch.no_grad()
    def find_scale(self, weight: Tensor) -> Tensor:
        """max |w| / L: (C,) per channel, else ()."""
        peak = weight.abs().flatten(1).amax(1) if self.per_channel else weight.abs().amax()
        return (peak / self.levels).clamp(min=SMALLEST_STEP)

    def quantize(self, values: Tensor, scale: Tensor) -> Tensor:
        """Values on the grid of `scale`; gradients pass straight through where nothing is clipped."""
        zero = torch.zeros_like(scale, dtype=torch.int32)
        if scale.ndim:
            return torch.fake_quantize_per_channel_affine(values, scale, zero, 0, -self.levels, self.levels)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, -self.levels, self.levels)

    def dequantize(self, integers: Tensor) -> Tensor:
        """int8 -> integers * scale, float32; a DequantizeLinear (axis 0) where the model is exported."""
        assert self.scale is not None and self.zero is not None
        if torch.compiler.is_exporting():
            return dequantize_node(integers, self.scale, self.zero)
        scale = self.scale.view(-1, *[1] * (integers.ndim - 1)) if self.scale.ndim else self.scale
        return integers.float() * scale

    @torch.no_grad()
    def bake(self, weight: Tensor) -> None:
        """Keeps the integers of `weight` (int8) and its scale; they come from the kernel that training used."""
        self.scale = self.find_scale(weight)
        steps = self.scale.view(-1, *[1] * (weight.ndim - 1)) if self.scale.ndim else self.scale
        self.integers = (self.quantize(weight, self.scale) / steps).round().to(torch.int8)
        self.zero = torch.zeros_like(self.scale, dtype=torch.int8)
