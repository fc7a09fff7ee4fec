"""What the student is led by: a term of the loss, a head that it is of, a tap, which is a hidden state that terms compare, and images changed against it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from compress.recipe.section import Section


class Loss(Section):
    """One term of the sum that the student minimises."""

    name: str = Field(description="Name in LOSSES: `compress list losses`.")
    weight: float = Field(1.0, ge=0, description="Factor of the term.")
    head: str | None = Field(
        None, description="Of several heads (data.heads) the one whose logits and labels it reads; null: there is one."
    )
    options: dict[str, Any] = Field({}, description="Options of the loss, such as temperature.")
    schedule: Literal["constant", "linear", "cosine", "warmup", "learned"] = Field(
        "constant",
        description="How the weight goes over the steps. linear, cosine: from weight to end_weight; warmup: from end_weight to weight in the "
        "first fifth, in which other terms lead; learned: weight times a factor that is learned with the student and starts at 1, such as for "
        "a term of each modality. The int8 student is trained with the last weights.",
    )
    end_weight: float = Field(0.0, ge=0, description="linear, cosine: the factor at the last step; warmup: that at the first.")


class Head(Section):
    """One of several heads on one set of encoders."""

    task: str = Field("single_label", description="What it answers: single_label, multi_label or regression.")
    task_options: dict[str, Any] = Field({}, description="Options of that task.")
    column: str | None = Field(
        None, description="Column of its labels in the data; null: named as the head. A blank cell: the row lacks this head's label."
    )
    weight: float = Field(1.0, gt=0, description="Factor of all of its terms in the loss, beside those of the other heads.")


class Adversarial(Section):
    """Training on images that are changed against the student, with the teacher's answers to the clean ones."""

    epsilon: int = Field(4, ge=1, le=64, description="Levels (of 255) that a pixel may change by at most.")
    steps: int = Field(3, ge=1, le=50, description="Steps of the attack: 1 is FGSM, more are PGD. Each costs a pass forth and back.")
    share: float = Field(1.0, gt=0, le=1, description="Share of the images of a batch that are attacked.")


class Robustness(Section):
    """Accuracy on images that are changed against the float32 student."""

    epsilons: list[Annotated[int, Field(ge=1, le=64)]] = Field(
        [2, 4, 8], min_length=1, description="Levels (of 255) that a pixel may change by at most."
    )
    steps: int = Field(10, ge=1, le=200, description="Steps of the attack (PGD).")
    rows: int = Field(1000, ge=1, description="Labelled test rows at most.")


class Tap(Section):
    """A layer of each side whose outputs are compared: a hidden state for the losses with the option `tap`."""

    student: str = Field(description="Dotted path of the student's layer, such as encoders.image.blocks.3.")
    teacher: str = Field(description="Dotted path of the teacher's.")
    reads: Literal["vector", "attention"] = Field(
        "vector",
        description="vector: a map's mean over its places, the first token of several; attention: where a map is strong, as 8x8 places.",
    )
