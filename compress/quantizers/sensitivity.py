"""What each layer costs in int8, and which few layers must be float again for the accuracy that was asked for.

Scores come from the caller's `evaluate(model) -> points` (0 to 100, larger is better), on validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from compress.quantizers.prepare import quantized_modules, set_float

Evaluate = Callable[[nn.Module], float]


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer alone in int8, all others in float."""

    name: str  # dotted path
    kind: str  # conv, sum, pixels, linear or embedding
    score: float  # points
    drop_points: float  # score of the model with every layer in float, less `score`


@dataclass(frozen=True)
class Restoration:
    """What `restore_layers` did."""

    names: list[str]  # layers put back to float, in the model's order; empty where `reached` is false
    score: float  # points of the model as it was left
    drop_points: float  # reference less score
    reached: bool  # drop_points is at most what was asked for


def layer_sensitivity(model: nn.Module, evaluate: Evaluate) -> list[LayerSensitivity]:
    """The layers that are in int8 now, the worst first; equal ones in the model's order. The model is left as it was."""
    names = int8_layers(model)
    kinds = {name: layer.kind for name, layer in quantized_modules(model).items()}
    scores = {}
    with _evaluating(model):
        set_float(model, names, True)
        try:
            reference = evaluate(model)
            for name in names:
                set_float(model, [name], False)
                scores[name] = evaluate(model)
                set_float(model, [name], True)
        finally:
            set_float(model, names, False)
    found = [LayerSensitivity(name, kinds[name], scores[name], reference - scores[name]) for name in names]
    return sorted(found, key=lambda layer: -layer.drop_points)


def restore_layers(model: nn.Module, evaluate: Evaluate, *, reference: float, max_drop_points: float) -> Restoration:
    """Puts layers back to float until `reference - evaluate(model) <= max_drop_points`, and tells which.

    Greedy by sensitivity; then each one is tried in int8 again, the least sensitive first, and stays there where the drop allows.
    Where even the model with every layer in float misses, no layer is to blame: the layers are left as they were.
    """

    def score_if_enough() -> tuple[float, bool]:
        score = evaluate(model)
        return score, reference - score <= max_drop_points

    restored: list[str] = []
    with _evaluating(model):
        score, enough = score_if_enough()
        before = score
        order = [] if enough else [layer.name for layer in layer_sensitivity(model, evaluate)]
        while not enough and order:
            restored.append(order.pop(0))
            set_float(model, restored[-1:], True)
            score, enough = score_if_enough()
        if not enough:
            set_float(model, restored, False)
            return Restoration([], before, reference - before, False)
        for name in reversed(restored[:-1]):  # the last one was needed: without it the drop was too large
            set_float(model, [name], False)
            alone, enough = score_if_enough()
            if enough:
                score, restored = alone, [other for other in restored if other != name]
            else:
                set_float(model, [name], True)
    return Restoration([name for name in quantized_modules(model) if name in restored], score, reference - score, True)


def int8_layers(model: nn.Module) -> list[str]:
    """The quantized layers that are not switched to float, in the model's order."""
    return [name for name, layer in quantized_modules(model).items() if not layer.floating.on]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
