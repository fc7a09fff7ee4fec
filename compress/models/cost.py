"""What a model costs a device, counted and not timed: the multiply-adds of one row."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compress.io_spec import IOSpec


@torch.no_grad()
def multiply_adds(model: nn.Module, io: IOSpec) -> int:
    """Of products and convolutions for one row with ports `io`; torch counts each as two operations. Leaves the model's mode as it was."""
    training, device = model.training, next((p.device for p in model.parameters()), None)
    row = {port.name: torch.ones((1, *port.shape), dtype=getattr(torch, port.dtype), device=device) for port in io.inputs}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # attention in one kernel is not counted on a processor
        model.eval()(row)
    model.train(training)
    return counter.get_total_flops() // 2
