"""Taps: what a layer inside a model gives, as one row of numbers a row of the batch, beside the model's logits and embedding.

A tap is a pair of hooks, so that the model's own code and its saved state know nothing of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.classifier import by_row
from compress.models.layers import ConvNorm
from compress.ranks.dealing import everyones

GRID = 8  # places a side of an attention map: layers of any size can then be compared
Tap = tuple[str, str]  # dotted path of the layer; "vector" or "attention"


def attach_taps(model: nn.Module, taps: Mapping[str, Tap], *, side: str) -> Callable[[], None]:
    """From now on the model's `Outputs` hold `taps` by name; gives the call that ends it. `side`, "teacher" or "student", is for messages.

    Raises: RecipeError for a layer that is not there, and at the first call for one whose output is no such thing.
    """
    layers = {name: find_layer(model, path, f"distill.taps.{name}.{side}") for name, (path, _) in taps.items()}
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda layer, given, found: seen.__setitem__(name, found[0] if isinstance(found, tuple) else found)

    def give(whole: nn.Module, given: Any, outputs: Any) -> Any:
        inputs, rows = given[0], given[1] if len(given) > 1 else None
        read = {}
        for name, (path, reads) in taps.items():
            m = path.split(".")[1] if path.startswith("encoders.") else None  # a distinct input is encoded once for all of its rows
            count = len(outputs.logits) if m is None else len(inputs[m])
            row = row_of(seen.pop(name), reads, count, f"distill.taps.{name}.{side}: {path!r}")
            read[name] = row if m is None or rows is None else by_row({m: everyones(row, m)}, rows)[m]
        return outputs._replace(taps=read)

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    handles += [model.register_forward_hook(give)] if taps else []

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def find_layer(model: nn.Module, path: str, place: str) -> nn.Module:
    """The layer at a dotted path. Raises RecipeError with the nearest paths where there is none, or it is none any more in int8."""
    layers = dict(model.named_modules())
    if path not in layers:
        near = difflib.get_close_matches(path, [name for name in layers if name], 3, 0.5) or list(layers)[1:4]
        raise RecipeError(f"{place}: there is no layer {path!r}; near it are {', '.join(near)}")
    above = [path[:end] for end, letter in enumerate(path) if letter == "."]
    whole = next((name for name in above if isinstance(layers[name], ConvNorm)), None)
    if whole:
        raise RecipeError(f"{place}: {path!r} lies inside {whole!r}, which is one layer in int8; tap that one")
    return layers[path]


def row_of(found: Any, reads: str, count: int, place: str) -> Tensor:
    """(N, D): of a map (N, C, H, W) the mean over its places, of tokens (N, T, D) the first, of rows (N, D) themselves; or, where `reads` is
    "attention", (N, GRID^2) of a map: the squares of its channels added up, brought to GRID x GRID places (arXiv 1612.03928, equation 1).

    Raises: RecipeError where what was found is neither.
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if isinstance(found, Tensor) and len(found) == count and found.ndim in (2, 3, 4):
        if reads == "vector":
            return found if found.ndim == 2 else found[:, 0] if found.ndim == 3 else found.mean((2, 3))
        if found.ndim == 4:
            energy = found.float().pow(2).sum(1, keepdim=True)
            return torch.nn.functional.adaptive_avg_pool2d(energy, GRID).flatten(1)
    wanted = "a map (N, C, H, W)" if reads == "attention" else "a map (N, C, H, W), tokens (N, T, D) or rows (N, D)"
    raise RecipeError(f"{place} gives {shape} for {count} inputs, but {wanted} of N = {count} is needed to read {reads!r}")
