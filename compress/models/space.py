"""Heads that end in a vector of length 1, as an output port that is `unit` asks for, so that a product of two outputs is their cosine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Outputs

FITTED = 20_000  # rows that directions are taken from


class Unit(nn.Module):
    """The outputs of a head, over their length. `prefixes`: to how many numbers they may be cut."""

    def __init__(self, body: nn.Module, prefixes: Sequence[int] = ()) -> None:
        super().__init__()
        self.body, self.count, self.prefixes = body, 1, tuple(prefixes)

    def forward(self, features: dict[str, Tensor]) -> Outputs:
        outputs = self.body(features)
        return outputs._replace(logits=unit(outputs.logits))


class OwnSpace(nn.Module):
    """Features of one modality -> `Outputs`: the features themselves, or their projection to fewer numbers."""

    def __init__(self, modality: str, width: int, size: int) -> None:
        super().__init__()
        if size > width:
            raise RecipeError(
                f"data.task_options.size: {size} numbers are more than the {width} that the teacher's {modality} encoder gives; at most {width}"
            )
        self.modality = modality
        self.project: nn.Module = nn.Identity() if size == width else nn.Linear(width, size, bias=False)

    def fit(self, features: np.ndarray) -> None:
        """Turns the projection to the principal directions of features (N, D), which keep cosines best before it learns any better."""
        if not isinstance(self.project, nn.Linear):
            return
        rows = np.asarray(features[:: max(1, len(features) // FITTED)], np.float64)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        _, vectors = np.linalg.eigh(rows.T @ rows)  # the largest last
        with torch.no_grad():
            self.project.weight.copy_(torch.from_numpy(vectors[:, ::-1][:, : self.project.out_features].T.copy()))

    def forward(self, features: dict[str, Tensor]) -> Outputs:
        x = features[self.modality].float()
        return Outputs(self.project(x), x)


def own_space(model: nn.Module) -> OwnSpace | None:
    """The part of a fitted teacher that makes vectors of one encoder's features; None where it has another head."""
    return next((part for part in model.modules() if isinstance(part, OwnSpace)), None)


def unit(x: Tensor) -> Tensor:
    """(R, D) over its length; of a row of zeros they stay."""
    return x / (x * x).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
