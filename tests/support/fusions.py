"""Students of two or three modalities for tests, one for each entry of FUSIONS, and rows for them."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from torch import Tensor, nn

from compress.io_spec import PRESENT, IOSpec, Port
from compress.models.classifier import Classifier, Head, TokenHead
from compress.models.tokens import Tokens
from compress.tables import FUSIONS, resolve

CLASSES, HIDDEN, VALUES = 3, 8, 5
NAMES = ("image", "text", "numbers")


def ports(count: int) -> IOSpec:
    inputs = tuple(Port(name, "float32", (VALUES,)) for name in NAMES[:count])
    return IOSpec(inputs, (Port("logits", "float32", (CLASSES,)),))


class ByValue(nn.Module):
    """(N, VALUES) -> a token a value, of which those below -1 are not there, or their mean. In place of an encoder, which would be most of
    what is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 8), nn.Linear(8, 8)

    def forward(self, given: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        states = self.second(self.first(given.reshape(-1, 1)).relu()).view(-1, VALUES, 8)
        found = Tokens(states, (given > -1).float())
        return found if tokens else found.mean()


def build(name: str, io: IOSpec) -> Classifier:
    """The last modality has one token."""
    torch.manual_seed(0)
    names = [m for m in io.modalities if m != PRESENT]
    make, lengths = resolve(FUSIONS[name]), [VALUES] * (len(names) - 1) + [1]
    by_token = "lengths" in inspect.signature(make).parameters
    fuse = make(len(names), HIDDEN, **({"lengths": lengths} if by_token else {}))
    made = TokenHead if by_token else Head
    head = made(dict.fromkeys(names, 8), hidden=HIDDEN, classes=CLASSES, fuse=fuse, gaps=PRESENT in io.modalities)
    encoders = {**{m: ByValue() for m in names[:-1]}, names[-1]: nn.Linear(VALUES, 8)}
    return Classifier({**encoders, **({PRESENT: nn.Identity()} if PRESENT in io.modalities else {})}, head).eval()


def draw(io: IOSpec, rows: int, *, seed: int = 0) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {m: torch.randn(rows, VALUES, generator=chance) for m in io.modalities}


def as_feeds(given: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {m: x.numpy() for m, x in given.items()}
