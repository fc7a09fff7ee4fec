"""What the student is led by: a term of the loss, and a tap, which is a hidden state that terms compare."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from compress.recipe.section import Section


class Loss(Section):
    """One term of the sum that the student minimises."""

    name: str = Field(description="Name in LOSSES: `compress list losses`.")
    weight: float = Field(1.0, ge=0, description="Factor of the term.")
    options: dict[str, Any] = Field({}, description="Options of the loss, such as temperature.")
    schedule: Literal["constant", "linear", "cosine", "warmup"] = Field(
        "constant",
        description="How the weight goes over the steps. linear, cosine: from weight to end_weight; warmup: from end_weight to weight in the "
        "first fifth, in which other terms lead. The int8 student is trained with the last weights.",
    )
    end_weight: float = Field(0.0, ge=0, description="linear, cosine: the factor at the last step; warmup: that at the first.")


class Tap(Section):
    """A layer of each side whose outputs are compared: a hidden state for the losses with the option `tap`."""

    student: str = Field(description="Dotted path of the student's layer, such as encoders.image.blocks.3.")
    teacher: str = Field(description="Dotted path of the teacher's.")
    reads: Literal["vector", "attention"] = Field(
        "vector",
        description="vector: a map's mean over its places, the first token of several; attention: where a map is strong, as 8x8 places.",
    )
