"""`Classifier`: one encoder a modality, a head over all of them, and the call that every model of ours shares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.io_spec import PRESENT, IOSpec, Outputs
from compress.models.fusion import Fusion, Product
from compress.models.layers import from_maker
from compress.models.maps import Maps, gives_maps
from compress.models.pixel_head import PixelHead
from compress.models.tokens import Tokens, gives_tokens

Inputs = dict[str, Tensor]


class Head(nn.Module):
    """Features by modality -> `Outputs`: normalised projections, their fusion, then two layers.

    Without GELU and LayerNorm after each projection a product starts small and learns slowly: on easy-VQA, one seed, validation,
    20 passes gave 99.1 % and with them 8 passes 99.8 %. `gaps`: rows may lack inputs, and features[PRESENT] (R, M) says which are there;
    a learned vector stands for each that is not, which starts as one that the fusion does not notice.
    """

    tells = False  # whether its outputs hold the fusion's shares

    def __init__(
        self,
        widths: dict[str, int],
        *,
        hidden: int,
        classes: int,
        dropout: float = 0.0,
        fuse: Fusion | None = None,
        gaps: bool = False,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.LayerNorm(hidden)) for m, width in widths.items()}
        )
        self.fuse = fuse or Product(len(widths), hidden)
        self.mix = nn.Sequential(nn.Linear(self.fuse.width, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.output = nn.Linear(hidden, classes)
        self.absent = nn.Parameter(torch.full((len(widths), hidden), self.fuse.neutral)) if gaps else None

    def forward(self, features: Inputs) -> Outputs:
        parts = self.parts(features)
        mixed, shares = self.fuse.weighed(parts) if self.tells else (self.fuse(parts), None)
        embedding = self.mix(mixed)
        return Outputs(self.output(embedding), embedding, shares=shares)

    def parts(self, features: Inputs) -> list[Tensor]:
        """What each modality says, (R, hidden)."""
        parts = [project(features[m]) for m, project in self.project.items()]
        if self.absent is not None:
            there = features[PRESENT].split(1, dim=1)  # each (R, 1), 0 or 1
            parts = [x * is_there + self.absent[i] * (1 - is_there) for i, (x, is_there) in enumerate(zip(parts, there, strict=True))]
        return parts


class TokenHead(Head):
    """The same of `Tokens` by modality, for a fusion of tokens; a vector is one. The learned vector of what is missing is its only token."""

    def parts(self, features: dict[str, Any]) -> list[Tokens]:  # type: ignore[override]
        """What each modality says, (R, T, hidden)."""
        parts = []
        for index, (m, project) in enumerate(self.project.items()):
            states, there = features[m] if isinstance(features[m], Tokens) else Tokens(features[m][:, None])
            length = states.shape[1]
            x = project(states.flatten(0, 1)).view(-1, length, self.fuse.channels)
            if self.absent is not None:
                is_there = features[PRESENT][:, index : index + 1]  # (R, 1)
                x = x * is_there[:, :, None] + self.absent[index] * (1 - is_there[:, :, None])
                only = nn.functional.pad(1 - is_there, (0, length - 1))  # (R, T)
                there = only + (is_there if there is None else there * is_there)
            parts.append(Tokens(x, there))
        return parts


class LinearHead(nn.Module):
    """Features of one modality -> `Outputs`."""

    def __init__(self, modality: str, width: int, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.modality = modality
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(width, classes)

    def forward(self, features: Inputs) -> Outputs:
        embedding = features[self.modality]
        return Outputs(self.output(self.dropout(embedding)), embedding)


def by_row(given: Inputs, rows: Inputs) -> Inputs:
    """(R, ...) by modality: what is given once for each distinct input (N_m, ...), for each row; of `Tokens` and `Maps` all parts.

    Not by `x[rows]`, whose gradient is added up by several threads in an order of their own, so that no two trainings end alike.
    """

    def select(x: Any, index: Tensor) -> Any:
        if x is None or isinstance(x, Tokens):
            return x and Tokens(*(select(part, index) for part in x))
        if isinstance(x, Maps):
            return Maps(select(part, index) for part in x)
        return from_maker(x, x.index_select(0, index))

    return {m: select(x, rows[m]) for m, x in given.items()}


class Classifier(nn.Module):
    """Encodes each distinct input once, hands every row its features, and classifies the rows."""

    def __init__(self, encoders: dict[str, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.encoders, self.head = nn.ModuleDict(encoders), head
        by_token = any(isinstance(part, TokenHead) for part in head.modules())
        self.asked = {m: {"tokens": True} for m, encoder in encoders.items() if by_token and gives_tokens(encoder)}
        if isinstance(head, PixelHead) and gives_maps(encoders[head.modality]):
            self.asked = {head.modality: {"maps": True}}

    def forward(self, inputs: Inputs, rows: Inputs | None = None) -> Outputs:
        """Of R rows. inputs[m]: (N_m, ...) distinct inputs; rows[m]: (R,) which one a row uses; None: row i uses input i."""
        features = {m: encoder(inputs[m], **self.asked.get(m, {})) for m, encoder in self.encoders.items()}
        return self.head(features if rows is None else by_row(features, rows))


class RowModel(nn.Module):
    """A model that sees all modalities at once, such as ViLT, behind the same call: rows are laid out first."""

    def forward(self, inputs: Inputs, rows: Inputs | None = None) -> Outputs:
        """As `Classifier.forward`."""
        return self.classify(inputs if rows is None else by_row(inputs, rows))

    def classify(self, inputs: Inputs) -> Outputs:
        """Of inputs that are laid out by row."""
        raise NotImplementedError


class ByPort(nn.Module):
    """A model of ours with one positional input a port, and its outputs alone, as exporters want it."""

    def __init__(self, model: nn.Module, io: IOSpec) -> None:
        super().__init__()
        self.model, self.modalities, self.outputs = model, io.modalities, [port.name for port in io.outputs]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = self.model(dict(zip(self.modalities, inputs, strict=True)))
        first, *others = (getattr(found, name) for name in self.outputs)
        return (first, *others) if others else first
