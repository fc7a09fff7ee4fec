"""Shares: how much a student's fusion let in of each of its inputs, by its weights, gates or attention; (R, M), 1 together, beside the answer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from compress.io_spec import PRESENT, SHARES, IOSpec, Port
from compress.models.classifier import Head


def with_shares(io: IOSpec) -> IOSpec:
    """The ports of a student that gives its shares too, in the order of its inputs."""
    inputs = [port for port in io.inputs if port.name != PRESENT]
    return replace(io, outputs=(*io.outputs, Port(SHARES, "float32", (len(inputs),), 0, 1)))


def tell_shares(model: nn.Module) -> nn.Module:
    """The model itself, whose `Outputs` hold `shares` from now on."""
    for head in heads_with_shares(model):
        head.tells = True
    return model


def heads_with_shares(model: nn.Module) -> list[Head]:
    """The heads of a model, one or none, whose fusion has shares that say something."""
    heads = [part for part in model.modules() if isinstance(part, Head)]
    return [head for head in heads if head.fuse.weighs and head.fuse.count >= head.fuse.fewest]


@torch.no_grad()
def contributions(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor | None:
    """(R, M) the shares for R rows of inputs; None of a model that joins nothing, or has no weights to tell."""
    heads = heads_with_shares(model)
    if not heads or heads[0].tells:
        return model(inputs).shares if heads else None
    heads[0].tells = True
    try:
        return model(inputs).shares
    finally:
        heads[0].tells = False
