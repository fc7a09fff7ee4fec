"""The sum of a recipe's losses, as one call for the training loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from compress.io_spec import Outputs
from compress.recipe.sections import Loss
from compress.tables import LOSSES, resolve


class Objective:
    """sum_i weight_i * scale_i * loss_i(student, teacher, labels); without a teacher only the losses that read labels remain.

    `scales` are factors by name, 1 where there is none: see `starting_scales`.
    """

    def __init__(self, losses: list[Loss], *, with_teacher: bool = True, scales: dict[str, float] | None = None) -> None:
        kept = [loss for loss in losses if with_teacher or loss.name == "cross_entropy"]
        self.terms: list[tuple[str, float, Callable[..., Tensor]]] = [
            (loss.name, loss.weight * (scales or {}).get(loss.name, 1.0), partial(resolve(LOSSES[loss.name]), **loss.options))
            for loss in kept or [Loss(name="cross_entropy")]
        ]
        self.with_teacher = with_teacher

    def __call__(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor, mixed: tuple[Tensor, float] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each unweighted term: labels (R,).

        mixed: the labels (R,) of what each input was mixed with, and the share of its own. A term is then share * loss(labels) +
        (1 - share) * loss(these), which for the cross-entropy is that of the labels mixed as probabilities.
        """
        parts = {name: loss(student, teacher, labels) for name, _, loss in self.terms}
        if mixed:
            others, share = mixed
            parts = {name: share * parts[name] + (1 - share) * loss(student, teacher, others) for name, _, loss in self.terms}
        total = sum(weight * parts[name] for name, weight, _ in self.terms)
        return total, {name: part.detach() for name, part in parts.items()}  # type: ignore[return-value]


def starting_scales(parts: dict[str, Tensor]) -> dict[str, float]:
    """For each term that is larger than the cross-entropy, the factor that makes it as large; nothing where there is no cross-entropy.

    `parts`: the terms of a fresh student. With many classes and a sure teacher KD at T = 4 starts at 10 to 30 times the cross-entropy.
    """
    labels = float(parts.get("cross_entropy", 0.0))
    return {name: labels / float(part) for name, part in parts.items() if labels > 0 and float(part) > labels}
