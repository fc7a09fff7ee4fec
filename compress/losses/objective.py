"""The sum of a recipe's losses, as one call for the training loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial

from torch import Tensor

from compress.io_spec import Outputs
from compress.recipe.sections import Loss
from compress.tables import LOSSES, resolve


class Objective:
    """sum_i weight_i * scale_i * loss_i(student, teacher, labels); without a teacher only the losses that need none remain.

    `scales` are factors by name, 1 where there is none: see `starting_scales`.
    """

    def __init__(self, losses: list[Loss], *, with_teacher: bool = True, scales: dict[str, float] | None = None) -> None:
        kept = [loss for loss in losses if with_teacher or needs_no_teacher(loss.name)]
        self.terms: list[tuple[str, float, Callable[..., Tensor]]] = [
            (loss.name, loss.weight * (scales or {}).get(loss.name, 1.0), partial(resolve(LOSSES[loss.name]), **loss.options))
            for loss in kept
        ]
        self.with_teacher = with_teacher

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        mixed: tuple[Tensor, float] | None = None,
        *,
        shift: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each unweighted term: labels (R, ...); losses on labels alone see the logits plus `shift` (K,).

        mixed: the labels (R, ...) of what each input was mixed with, and the share of its own. A term is then share * loss(labels) +
        (1 - share) * loss(these), which for the cross-entropy is that of the labels mixed as probabilities.
        """
        shifted = student if shift is None else student._replace(logits=student.logits + shift)

        def terms(answers: Tensor) -> dict[str, Tensor]:
            return {name: loss(shifted if needs_no_teacher(name) else student, teacher, answers) for name, _, loss in self.terms}

        parts = terms(labels)
        if mixed:
            others, share = terms(mixed[0]), mixed[1]
            parts = {name: share * part + (1 - share) * others[name] for name, part in parts.items()}
        total = sum(weight * parts[name] for name, weight, _ in self.terms)
        return total, {name: part.detach() for name, part in parts.items()}  # type: ignore[return-value]


@cache
def needs_no_teacher(name: str) -> bool:
    """Whether a loss reads labels alone: its function then says `teacher: Outputs | None`."""
    teacher = list(inspect.signature(resolve(LOSSES[name])).parameters.values())[1]
    return "None" in str(teacher.annotation)


def starting_scales(parts: dict[str, Tensor]) -> dict[str, float]:
    """For each term that is larger than the first one on labels alone, the factor that makes it as large; nothing where there is none such.

    `parts`: the terms of a fresh student. With many classes and a sure teacher KD at T = 4 starts at 10 to 30 times the cross-entropy.
    """
    labels = next((float(part) for name, part in parts.items() if needs_no_teacher(name)), 0.0)
    return {name: labels / float(part) for name, part in parts.items() if labels > 0 and float(part) > labels}
