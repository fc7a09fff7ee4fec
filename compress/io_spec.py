"""`IOSpec`: the one source of input and output names, types and shapes for batch, ONNX, engine and device.

A model takes raw values, such as pixels as uint8 NHWC or token ids as int64 (0-padded; the graph derives the mask), and gives float32
logits. The first axis is the batch and is the only dynamic one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

ABSENT = -(2.0**100)  # stands in a row's labels (R, L) for those of a head that it has no answer for, while it has one of another
SHARES = "shares"  # the second output of a model that tells how much it let in of each input, (M,) float32
PRESENT = "present"  # the last input of a model whose rows may lack others: which are there, (M,) float32


@dataclass(frozen=True)
class Head:
    """One of several heads of an output: which of the logits (R, K) are its own, and which columns of the labels (R, L)."""

    name: str
    kind: str  # of its labels: "place" of one of its outputs, in one column; "flags" or "values", a column for each output
    first: int  # of its logits
    outputs: int  # how many logits it has
    column: int  # the first of its labels
    weight: float = 1.0  # of its losses beside those of other heads

    @property
    def columns(self) -> int:
        """How many columns its labels have."""
        return 1 if self.kind == "place" else self.outputs

    @property
    def logits(self) -> slice:
        """Its part of the logits."""
        return slice(self.first, self.first + self.outputs)

    @property
    def labels(self) -> slice:
        """Its part of the labels."""
        return slice(self.column, self.column + self.columns)


@dataclass(frozen=True)
class Port:
    """One input or output: `shape` leaves the batch axis out."""

    name: str  # the modality, "logits" or "shares"
    dtype: str  # numpy name: "uint8", "int64", "float32"
    shape: tuple[int, ...]  # (H, W, 3) pixels, (T,) token ids, (K,) logits
    low: float | None = None  # smallest legal value
    high: float | None = None  # largest legal value
    reading: dict[str, Any] | None = None  # how the runner's reader brings a value to this form, where there is more than one way
    unit: bool = False  # of an output: a vector of length 1, which the graph sees to
    each: int = 1  # of an output: so many answers of equal size behind each other, such as one of K numbers for each word
    prefixes: tuple[int, ...] = ()  # of vectors: to how many of their first numbers they may be cut and still rank
    grid: int = 0  # of an output: the side of a square of places that have an answer each, row after row; 0: there is none
    heads: tuple[Head, ...] = ()  # of an output: whose logits stand behind each other; none where all are of one answer


class Outputs(NamedTuple):
    """What a model gives for R rows; the first is what is exported, with the shares where a recipe asks for them."""

    logits: Any  # (R, K) tensor
    embedding: Any = None  # (R, D) tensor, what the last layer reads; None where a teacher's answers were stored without
    taps: Any = None  # {name: (R, D) tensor}, where the recipe taps layers inside; see compress/models/taps.py
    shares: Any = None  # (R, M) tensor, of one that tells them; see compress/models/shares.py

    def at(self, tap: str) -> Any:
        """The hidden state of that name, (R, D); None where there is none."""
        return self.embedding if tap == "embedding" else (self.taps or {}).get(tap)

    def map(self, change: Callable[[Any], Any]) -> Outputs:
        """The same with every tensor changed."""
        taps = self.taps and {name: change(state) for name, state in self.taps.items()}
        logits, embedding, shares = (None if x is None else change(x) for x in (self.logits, self.embedding, self.shares))
        return Outputs(logits, embedding, taps, shares)

    @staticmethod
    def of(states: dict[str, Any]) -> Outputs:
        """Of tensors by name: logits, embedding, and all others as taps."""
        taps = {name: state for name, state in states.items() if name not in ("logits", "embedding")}
        return Outputs(states.get("logits"), states.get("embedding"), taps or None)


@dataclass(frozen=True)
class IOSpec:
    """The ports of one model, in the order of the ONNX inputs and outputs."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    max_batch: int = 32

    @property
    def modalities(self) -> tuple[str, ...]:
        """The input names in order."""
        return tuple(port.name for port in self.inputs)

    def input(self, name: str) -> Port:
        """The input port of that name."""
        return next(port for port in self.inputs if port.name == name)

    def to_json(self) -> dict:
        """Plain data, as it stands in artifact.json and in a bundle's io_spec.json."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict) -> IOSpec:
        """The inverse of `to_json`."""

        def port(told: dict) -> Port:
            heads = tuple(Head(**head) for head in told.get("heads", ()))
            return Port(**{**told, "shape": tuple(told["shape"]), "prefixes": tuple(told.get("prefixes", ())), "heads": heads})

        inputs, outputs = (tuple(map(port, data[name])) for name in ("inputs", "outputs"))
        return IOSpec(inputs, outputs, data["max_batch"])

    @staticmethod
    def load(path: Path) -> IOSpec:
        """Reads io_spec.json."""
        return IOSpec.from_json(json.loads(path.read_text()))
