"""The student, and the teacher that is fitted here: an encoder a modality, and a head."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.io_spec import PRESENT, IOSpec, Port
from compress.models.classifier import Classifier, Head, LinearHead, TokenHead
from compress.models.fusion import concatenation_product
from compress.models.maps import FlatMaps, sizes_from
from compress.models.pixel_head import pixel_head
from compress.models.reuse import ReusedClassifier
from compress.models.space import OwnSpace, Unit
from compress.models.tokens import count_tokens
from compress.models.towers import tower_size, towers
from compress.models.word_head import WordHead, per_word
from compress.tables import FUSIONS, resolve
from compress.tables import encoders as encoders_of


def student(
    io: IOSpec,
    *,
    encoders: dict[str, dict],
    head_width: int,
    dropout: float = 0.0,
    fusion: dict[str, Any] | None = None,
    teacher_width: int | None = None,
) -> Classifier:
    """A student for the inputs that `io` names; `encoders` is {modality: {"model", "options"}}, `fusion` {"name", "options"}.

    `teacher_width` is what its teacher's last layer reads, where it ends in that layer.
    """
    built = {port.name: build_encoder(port, encoders.get(port.name, {})) for port in io.inputs}
    widths = {m: encoder.width for m, encoder in built.items() if m != PRESENT}
    classes = io.outputs[0].shape[0]
    if io.outputs[0].grid:
        return Classifier(built, pixel_head(io, built, hidden=head_width, dropout=dropout))
    head: nn.Module
    if modality := per_word(io, built):
        head = WordHead(io, modality, widths[modality], dropout=dropout)
    elif tower_size(io):
        return Classifier(built, towers(io, widths, dropout=dropout))
    elif len(widths) == 1:
        ((modality, width),) = widths.items()
        head = LinearHead(modality, width, classes, dropout=dropout)
    else:
        asked = fusion or {"name": "product", "options": {}}
        make, options = resolve(FUSIONS[asked["name"]]), asked["options"]
        if by_token := "lengths" in inspect.signature(make).parameters:
            options = {**options, "lengths": [count_tokens(built[port.name], port) for port in io.inputs if port.name != PRESENT]}
        kind, fuse = TokenHead if by_token else Head, make(len(widths), head_width, **options)
        head = kind(widths, hidden=head_width, classes=classes, dropout=dropout, fuse=fuse, gaps=PRESENT in built)
    head = ReusedClassifier(head, width=teacher_width, classes=classes) if teacher_width else head
    return Classifier(built, Unit(head, io.outputs[0].prefixes) if io.outputs[0].unit else head)


def fitted_teacher(io: IOSpec, *, encoders: dict[str, dict], hidden: int) -> Classifier:
    """A teacher of pretrained encoders and a fitted head; `encoders` is {modality: {"model", "options"}}.

    Where a vector is asked of a single encoder, it is the encoder's own, or a projection of it to fewer numbers.
    """
    built = {port.name: flat(build_encoder(port, encoders.get(port.name, {})), port, io) for port in io.inputs}
    widths = {m: encoder.width for m, encoder in built.items()}
    (classes,), unit = io.outputs[0].shape, io.outputs[0].unit
    if io.outputs[0].grid:
        head = pixel_head(io, built, hidden=hidden, dropout=0.1)
        return Classifier({m: nn.Sequential(encoder, AsItIs(encoder.width)) for m, encoder in built.items()}, head)
    telling = per_word(io, built)
    as_it_is = {PRESENT, telling} | (set(built) if unit and len(built) == 1 else set())  # a space of vectors has its own origin
    parts: dict[str, nn.Module] = {m: nn.Sequential(e, (AsItIs if m in as_it_is else Standardise)(e.width)) for m, e in built.items()}
    widths.pop(PRESENT, None)
    if telling:
        return Classifier(parts, WordHead(io, telling, widths[telling], hidden=hidden, dropout=0.1))
    if tower_size(io):
        return Classifier(parts, towers(io, widths, hidden=hidden, dropout=0.1))
    if unit and len(built) == 1:
        return Classifier(parts, Unit(OwnSpace(*widths.popitem(), classes), io.outputs[0].prefixes))
    fuse = concatenation_product(len(widths), hidden) if len(widths) > 1 else None
    joined = Head(widths, hidden=hidden, classes=classes, dropout=0.1, fuse=fuse, gaps=PRESENT in built)
    return Classifier(parts, Unit(joined, io.outputs[0].prefixes) if unit else joined)


def build_encoder(port: Port, described: dict) -> Any:
    """The encoder of one input with fresh weights, a module with its width D as `width`; `described` is {"model", "options"}."""
    if port.name == PRESENT:
        return Presence(port.shape[0])
    return resolve(encoders_of(port.name)[described["model"]])(port, **described["options"])


def flat(encoder: Any, port: Port, io: IOSpec) -> Any:
    """The encoder, or where places of its input are answered for one that gives its maps as a vector, which is stored as features are."""
    grid = io.outputs[0].grid
    return FlatMaps(encoder, sizes_from(encoder, port, grid)) if grid else encoder


def over_features(teacher: Classifier) -> Classifier:
    """The part of a fitted teacher behind its frozen encoders: features (N_m, D) by modality -> logits; weights are shared."""
    encoders: dict[str, Any] = dict(teacher.encoders.items())
    return Classifier({m: encoder[1] for m, encoder in encoders.items()}, teacher.head)


class Presence(nn.Identity):
    """Which inputs are there (R, M), which the head reads as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def load_pretrained(self) -> None:
        """There is nothing to load."""


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


class AsItIs(Standardise):
    """The same call, which changes nothing."""

    def fit(self, features: np.ndarray) -> None:
        """Nothing to take: mean 0 and deviation 1 stay."""
