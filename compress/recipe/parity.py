"""The section `export.parity`: how far two forms of one model may differ."""

from __future__ import annotations

from pydantic import Field

from compress.recipe.section import Fraction, Section


class Limits(Section):
    """How far the logits of two forms of one model may differ over the rows, at one kind of step from form to form."""

    distance: float = Field(
        gt=0,
        description="||difference|| / ||logits||; an answer is sure, and must stay, where no logit that moves by this share of the logits' "
        "root mean square tips it: of one of K labels, where the two largest lie further apart than twice that.",
    )
    bias: float = Field(gt=0, description="Mean difference of any one class, as a share of the logits' root mean square.")
    gain: float = Field(gt=0, description="|slope - 1| of the best fit of any one class, where it varies enough to tell.")


class RoundedLimits(Limits):
    """The same where both forms are graphs, or fake-quantized torch and its graph: layers are then looked at one by one."""

    layer: float = Field(
        gt=0,
        description="||difference|| / ||output|| of any one layer that reads the right values; what comes out of an int8 quantizer may be off by "
        "one step, and its codes must reach as far as they should.",
    )


class Parity(Section):
    """The gate: how far two forms of one model may differ on real rows.

    A teacher or student whose float32 file fails ends the run. Any other file that fails is left out, and the run goes on without it.
    """

    samples: int = Field(256, ge=1, description="Rows compared: of the test split, and where it has fewer, of validation and train too.")
    min_agreement: Fraction = Field(
        0.995, description="Share of the sure answers (of tags: tag by tag) that stay; of fewer than 30 it is not asked."
    )
    fp32: Limits = Field(Limits(distance=5e-4, bias=2e-4, gain=1e-2), description="torch -> ONNX Runtime or LiteRT, both in float32.")
    fp16: RoundedLimits = Field(RoundedLimits(distance=1e-2, bias=1e-2, gain=0.03, layer=5e-3), description="float32 -> float16.")
    int8: RoundedLimits = Field(
        RoundedLimits(distance=0.3, bias=0.1, gain=0.15, layer=5e-3),
        description="Fake-quantized torch -> its graph -> each target's file. Rounding alone moves the logits of a weak student by a tenth, "
        "so it is the layers that tell; a student whose logits move further still when sums are added in another order is allowed three times that.",
    )
