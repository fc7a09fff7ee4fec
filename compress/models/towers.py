"""Heads without a fusion: each modality is a tower, whose features become a vector of length 1 in the space that all share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.io_spec import IOSpec, Outputs
from compress.models.space import Unit, unit


class Towers(nn.Module):
    """Features (R, D_m) by modality -> logits (R, M D): what `project` makes of each, over its length. `prefixes`: as of `Unit`."""

    def __init__(self, project: dict[str, nn.Module], prefixes: Sequence[int] = ()) -> None:
        super().__init__()
        self.count, self.prefixes, self.project = len(project), tuple(prefixes), nn.ModuleDict(project)

    def forward(self, features: dict[str, Tensor]) -> Outputs:
        vectors = torch.cat([unit(project(features[m])) for m, project in self.project.items()], 1)
        return Outputs(vectors, vectors)


def towers(io: IOSpec, widths: dict[str, int], *, hidden: int = 0, dropout: float = 0.0) -> Towers:
    """Towers with one linear layer a modality or, with `hidden`, two with GELU and LayerNorm between, as in CLAP, arXiv 2206.04769."""

    size = tower_size(io)

    def projection(width: int) -> nn.Module:
        if not hidden:
            return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, size))
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Dropout(dropout), nn.Linear(hidden, size))

    return Towers({m: projection(width) for m, width in widths.items()}, io.outputs[0].prefixes)


def tower_size(io: IOSpec) -> int:
    """How many numbers the vector of each tower has; 0 for a model without towers."""
    port = io.outputs[0]
    return port.shape[0] // port.each if port.unit and port.each > 1 else 0


def vectors_of(model: nn.Module) -> dict[str, Any]:
    """{towers, prefixes}: how many vectors a model gives for a row, and to how many numbers they may be cut."""
    head = next((part for part in model.modules() if isinstance(part, Towers | Unit)), None)
    return {"towers": head.count, "prefixes": head.prefixes} if head else {}
