"""The sum of a recipe's losses, as one call for the training loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from compress.recipe import Loss
from compress.tables import LOSSES, resolve


class Objective:
    """sum_i weight_i * loss_i(student, teacher, labels); without a teacher only the losses that read labels remain."""

    def __init__(self, losses: list[Loss], *, with_teacher: bool = True) -> None:
        kept = [loss for loss in losses if with_teacher or loss.name == "cross_entropy"]
        self.terms: list[tuple[str, float, Callable[..., Tensor]]] = [
            (loss.name, loss.weight, partial(resolve(LOSSES[loss.name]), **loss.options)) for loss in kept or [Loss(name="cross_entropy")]
        ]
        self.with_teacher = with_teacher

    def __call__(self, student: Tensor, teacher: Tensor | None, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each unweighted term: student (R, K), teacher (R, K), labels (R,)."""
        parts = {name: loss(student, teacher, labels) for name, _, loss in self.terms}
        total = sum(weight * parts[name] for name, weight, _ in self.terms)
        return total, {name: part.detach() for name, part in parts.items()}  # type: ignore[return-value]
