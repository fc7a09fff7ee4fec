"""A student that ends in its teacher's last layer, behind a projection to what that layer reads (SimKD, arXiv 2203.14001)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.io_spec import Outputs


class ReusedClassifier(nn.Module):
    """Features by modality -> `Outputs`: the student's own head up to its last layer, a projection, the teacher's last layer as it is.

    The embedding is what the teacher's layer reads, so that a loss can lead it to the teacher's own.
    """

    def __init__(self, head: Any, *, width: int, classes: int) -> None:
        super().__init__()
        own = head.output.in_features
        head.output = nn.Identity()
        self.body, self.teacher_width = head, width
        self.project = nn.Sequential(nn.Linear(own, width), nn.ReLU(), nn.Linear(width, width))
        self.output = nn.Linear(width, classes).requires_grad_(False)

    def forward(self, features: dict[str, Tensor]) -> Outputs:
        told = self.body(features)
        embedding = self.project(told.logits)
        return Outputs(self.output(embedding), embedding, shares=told.shares)


@torch.no_grad()
def last_layer(teacher: Any, outputs: Outputs) -> nn.Linear | None:
    """The linear layer that makes the logits of a few rows from their embedding, cut to the data's labels; None where none does.

    Found by trying: the name of such a layer differs from model to model, and one that was named right may still be followed by more.
    """
    if outputs.embedding is None or outputs.embedding.ndim != 2:
        return None
    columns = getattr(teacher, "columns", None)  # of a foreign teacher: which of its logits are the data's labels
    for layer in reversed([m for m in teacher.modules() if isinstance(m, nn.Linear) and m.in_features == outputs.embedding.shape[1]]):
        chosen = torch.arange(layer.out_features) if columns is None else columns
        if len(chosen) != outputs.logits.shape[1] or int(chosen.max()) >= layer.out_features:
            continue
        cut = nn.Linear(layer.in_features, len(chosen))
        cut.weight.copy_(layer.weight[chosen])
        cut.bias.copy_(torch.zeros(len(chosen)) if layer.bias is None else layer.bias[chosen])
        if torch.allclose(cut(outputs.embedding), outputs.logits, rtol=1e-3, atol=1e-4):
            return cut
    return None
