"""The arithmetic of models that only answer: float32, or bfloat16 with channels last where their device has it and the answers agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from compress.io_spec import Outputs
from compress.placement import arithmetic, ask, device_of

TOLERANCE = 0.02  # ||difference|| / ||float32|| that bfloat16 may cost; 8 bits of mantissa through 60 layers cost about 0.005


@torch.no_grad()
def quick_call(model: nn.Module, *sample: Any) -> tuple[Callable[..., Any], str]:
    """The model's call in the fastest arithmetic that agrees with float32 on `sample`, and the name of that arithmetic.

    Inputs may lie anywhere; what comes back is on the model's device.
    Measured on a processor with AVX512-BF16, freed memory kept: EfficientNet-Lite2 at 128 pixels, 10.2 ms an image in float32, 5.8 in bfloat16.
    """
    device = device_of(model)
    if arithmetic(str(device)) == "float32":
        return partial(ask, model), "float32"
    exact = ask(model, *sample)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def call(*given: Any) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            found = ask(model, *given)
        return found.map(lambda x: x.float()) if isinstance(found, Outputs) else found.float()

    if disagreement(exact, call(*sample)) <= TOLERANCE:
        return call, "bfloat16"
    return partial(ask, model), "float32, because bfloat16 gives other answers"


def disagreement(exact: Any, quick: Any) -> float:
    """||difference|| / ||exact|| of features (N, D), or of the logits of `Outputs`."""
    a, b = (x.logits if isinstance(x, Outputs) else x for x in (exact, quick))
    return float((a - b).norm() / a.norm().clamp(min=1e-12))
