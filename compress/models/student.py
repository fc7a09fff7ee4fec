"""The student: a MobileNet-style image encoder, a DistilBERT-style text encoder, and a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.io_spec import IOSpec
from compress.models.classifier import Classifier, Head, LinearHead
from compress.models.text import TextEncoder
from compress.recipe import Student
from compress.tables import ENCODERS, resolve


def student(io: IOSpec, *, config: dict) -> Classifier:
    """A student for the inputs that `io` names; `config` is the recipe's student part as plain data."""
    parts = Student.model_validate(config)
    encoders: dict[str, Any] = {}  # modules with their width D as `width`
    if parts.image:
        encoders["image"] = resolve(ENCODERS["image"][parts.image.model])(**parts.image.options)
    if parts.text:
        port = io.input("text")
        t = parts.text
        encoders["text"] = TextEncoder(
            vocabulary=int(port.high or 0) + 1,
            length=port.shape[0],
            width=t.width,
            layers=t.layers,
            heads=t.heads,
            feedforward=t.feedforward,
        )
    widths = {m: encoder.width for m, encoder in encoders.items()}
    classes = io.outputs[0].shape[0]
    if len(widths) == 1:
        ((modality, width),) = widths.items()
        return Classifier(encoders, LinearHead(modality, width, classes, dropout=parts.dropout))
    return Classifier(encoders, Head(widths, hidden=parts.head_width, classes=classes, dropout=parts.dropout))


def fitted_teacher(io: IOSpec, *, encoders: dict[str, dict], hidden: int) -> Classifier:
    """A teacher of pretrained encoders and a fitted head; `encoders` is {modality: {"model", "options"}}."""
    built = {m: resolve(ENCODERS[m][e["model"]])(**e["options"]) for m, e in encoders.items()}
    parts: dict[str, nn.Module] = {m: nn.Sequential(encoder, Standardise(encoder.width)) for m, encoder in built.items()}
    head = Head({m: e.width for m, e in built.items()}, hidden=hidden, classes=io.outputs[0].shape[0], dropout=0.1)
    return Classifier(parts, head)


def over_features(teacher: Classifier) -> Classifier:
    """The part of a fitted teacher behind its frozen encoders: features (N_m, D) by modality -> logits; weights are shared."""
    encoders: dict[str, Any] = dict(teacher.encoders.items())
    return Classifier({m: encoder[1] for m, encoder in encoders.items()}, teacher.head)


class Standardise(nn.Module):
    """(x - mean) / deviation, channel by channel, with the training set's statistics."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, features: np.ndarray) -> None:
        """Takes mean and deviation from (N, D) features, in blocks, so that they need not fit into memory."""
        count, total, squares = len(features), 0.0, 0.0
        for start in range(0, count, 4096):
            block = features[start : start + 4096].astype(np.float64)
            total, squares = total + block.sum(0), squares + (block**2).sum(0)
        mean = total / count
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.sqrt(np.maximum(squares / count - mean**2, 0)) + 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.deviation
