"""Layers of a model that is trained by several processes, where they depend on the whole batch: batch norm and dropout.

Batch norm takes mean and variance over what all processes have (torch's SyncBatchNorm does so on CUDA alone); dropout draws the mask of the
whole batch in each process and takes its part, so that the masks are those of one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.ranks.dealing import dealt, now, summed
from compress.ranks.group import here


@contextmanager
def over_ranks(model: nn.Module, whole: Any) -> Iterator[None]:
    """Inside, batch norms and dropout of the model are those of the whole batch, and the encoders of `whole`, a part of it, are dealt their inputs."""
    if here().world == 1:
        yield
        return
    kinds: tuple[tuple[Any, Any], ...] = ((nn.modules.batchnorm._BatchNorm, norm), (nn.Dropout, drop))
    changed = [(module, partial(call, module)) for module in model.modules() for kind, call in kinds if isinstance(module, kind)]
    for module, call in changed:
        module.forward = call  # type: ignore[method-assign]
    try:
        with dealt(whole):
            yield
    finally:
        for module, _ in changed:
            del module.forward


def drop(layer: nn.Dropout, x: Tensor) -> Tensor:
    """Dropout (n, ...): this process's part of the mask that one process would draw."""
    if not layer.training or layer.p == 0 or (part := now()) is None:
        return F.dropout(x, layer.p, layer.training)
    each = len(x) // (part.stop - part.start)  # rows of x for each of the part
    mask = F.dropout(x.new_ones((part.total * each, *x.shape[1:])), layer.p)
    return x * mask[part.start * each : part.stop * each]


def norm(layer: Any, x: Tensor) -> Tensor:
    """Batch norm of x (n, C, ...) with mean and variance (over N, not N - 1) of all N places of all processes; running ones as torch has them."""
    if not layer.training or (part := now()) is None:
        return type(layer).forward(layer, x)
    layer._check_input_dim(x)
    count = x.numel() // x.shape[1] // (part.stop - part.start) * part.total
    y, mean, variance = _Norm.apply(x, layer.weight, layer.bias, layer.eps, count)
    if layer.track_running_stats:
        layer.num_batches_tracked += 1
        weight = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
        layer.running_mean.lerp_(mean, weight)
        layer.running_var.lerp_(variance * (count / max(1, count - 1)), weight)
    return y


class _Norm(torch.autograd.Function):
    """Formula: y = (x - m) r w + b, r = 1 / sqrt(v + eps), m and v over all processes. dx = r w (dy - mean(dy) - (x - m) r^2 mean(dy (x - m)))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, count: int) -> Any:
        places = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x.float(), _all_but_channels(x), correction=0)
        mean, variance = mean.double(), variance.double()  # sums of squares less a square, which float32 would lose
        first, second = summed(torch.stack([mean * places, (variance + mean * mean) * places])) / count
        mean, variance = first.float(), (second - first * first).clamp(min=0).float()
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.count = count
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        x, weight, mean, rate = ctx.saved_tensors
        slope, axes = slopes[0].float(), _all_but_channels(x)
        centred = x.float() - _as(mean, x)
        own = torch.stack([slope.sum(axes), (slope * centred).sum(axes)])
        level, along = summed(own.clone()) / ctx.count
        gain = rate if weight is None else rate * weight
        found = (slope - _as(level, x) - centred * _as(rate * rate * along, x)) * _as(gain, x)
        of_weight, of_bias = (None, None) if weight is None else (own[1] * rate, own[0])
        return found.to(x.dtype), of_weight, of_bias, None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _as(channels: Tensor, x: Tensor) -> Tensor:
    """(C,) to be joined with x (n, C, ...)."""
    return channels.view(1, -1, *[1] * (x.ndim - 2))
