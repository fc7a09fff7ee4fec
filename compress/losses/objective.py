"""The sum of a recipe's losses, as one call for the training loop, and the projections that some of them learn."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compress.io_spec import ABSENT, Head, Outputs
from compress.recipe.needs import hidden_state, reads_teacher
from compress.recipe.sections import Loss
from compress.tables import LOSSES, resolve

WARM = 0.2  # share of the steps in which a weight with `schedule: warmup` climbs


class Term(NamedTuple):
    """One loss of the sum."""

    name: str  # of the loss; "hint 2" for the second one of the same name
    config: Loss
    loss: Callable[..., Tensor]

    @property
    def of_labels(self) -> bool:
        """Whether it needs no teacher."""
        return not reads_teacher(LOSSES[self.config.name])


class Objective(nn.Module):
    """sum_i weight_i * scale_i * loss_i(student, teacher, labels); without a teacher only the losses that need none remain.

    `scales`: factors by term, 1 where there is none, see `starting_scales`. `widths`: (D_s, D_t) of each hidden state that is compared;
    where they differ and a loss asks for it, a projection is made, whose parameters are the objective's. `counts`: (K,) labelled rows.
    `heads`: of several; a term of one reads its part of the logits and of the labels, and its weight is times that of the head.
    `towers`: how many vectors a row has; `prefixes`: to how many numbers they may be cut: a term is then the mean of that of the whole
    vectors and of those that are cut, the teacher's too (Matryoshka representations, arXiv 2205.13147, equation 1, with equal weights).

    A term whose schedule is learned enters as w loss + log(1 + 1 / w), w = exp(-s) learned from s = 0: the larger a term stays the less it
    weighs, and a small one about 1 / sqrt(loss); after arXiv 1805.06334, whose w is 1 / 2c^2.
    """

    def __init__(
        self,
        losses: Sequence[Loss],
        *,
        with_teacher: bool = True,
        scales: Mapping[str, float] | None = None,
        widths: Mapping[str, tuple[int, int]] | None = None,
        counts: Tensor | None = None,
        towers: int = 1,
        prefixes: Sequence[int] = (),
        heads: Sequence[Head] = (),
    ) -> None:
        super().__init__()
        self.projections, self.with_teacher = nn.ModuleDict(), with_teacher
        self.doubts = nn.ParameterDict()  # s of each term whose weight is learned
        self.terms: list[Term] = []
        self.towers, self.prefixes = towers, tuple(prefixes)
        self.heads = {head.name: head for head in heads}
        self.scales = dict(scales or {})
        for loss in losses:
            if with_teacher or not reads_teacher(LOSSES[loss.name]):
                self._add(loss, widths or {}, counts)
        if not self.terms:
            self._add(Loss(name="cross_entropy"), {}, counts)

    def _add(self, loss: Loss, widths: Mapping[str, tuple[int, int]], counts: Tensor | None) -> None:
        """One term more; its loss gets from the program what its signature asks for."""
        function, head = resolve(LOSSES[loss.name]), self.heads.get(loss.head or "")
        name = unique(f"{loss.name} of {head.name}" if head else loss.name, [term.name for term in self.terms])
        given: dict[str, Any] = {}
        asked = inspect.signature(function).parameters
        if "counts" in asked:
            given["counts"] = counts[head.logits] if head and counts is not None else counts
        if "towers" in asked:
            given["towers"] = self.towers
        if "project" in asked:
            student, teacher = widths.get(hidden_state(LOSSES[loss.name], loss.options) or "", (0, 0))
            self.projections[name] = nn.Identity() if student == teacher else projection(student, teacher)
            given["project"] = self.projections[name]
        if loss.schedule == "learned":
            self.doubts[name] = nn.Parameter(torch.zeros(()))
        self.terms.append(Term(name, loss, partial(function, **loss.options, **given)))

    def forward(
        self,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        mixed: tuple[Tensor, float] | None = None,
        *,
        done: float = 0.0,
        shift: Tensor | None = None,
        answered: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum after the share `done` of the steps, and each unweighted term: labels (R, ...).

        shift: (K,) what losses on labels alone see added to the logits.

        answered: (R,) bool, the rows that the teacher answered; its terms are of these alone, and 0 where there is none. None: all.

        mixed: the labels (R, ...) of what each input was mixed with, and the share of its own. A term is then share * loss(labels) +
        (1 - share) * loss(these), which for the cross-entropy is that of the labels mixed as probabilities.
        """
        shifted = student if shift is None else student._replace(logits=student.logits + shift)

        def terms(answers: Tensor) -> dict[str, Tensor]:
            return {t.name: lengths(t, shifted, teacher, answers) if t.of_labels else taught(t, answers) for t in self.terms}

        def taught(term: Term, answers: Tensor) -> Tensor:
            if answered is None or bool(answered.all()):
                return lengths(term, student, teacher, answers)
            if teacher is None or not bool(answered.any()):
                return student.logits.sum() * 0.0
            return lengths(term, student.map(lambda x: x[answered]), teacher.map(lambda x: x[answered]), answers[answered])

        def lengths(term: Term, own: Outputs, theirs: Outputs | None, answers: Tensor) -> Tensor:
            if head := self.heads.get(term.config.head or ""):
                own, answers = own._replace(logits=own.logits[:, head.logits]), labels_of(head, answers)
                theirs = theirs and theirs._replace(logits=theirs.logits[:, head.logits])
            found = term.loss(own, theirs, answers)
            for size in self.prefixes:
                cut = [one and one._replace(logits=cut_vectors(one.logits, self.towers, size)) for one in (own, theirs)]
                found = found + term.loss(*cut, answers)
            return found / (1 + len(self.prefixes))

        parts = terms(labels)
        if mixed:
            others, share = terms(mixed[0]), mixed[1]
            parts = {name: share * part + (1 - share) * others[name] for name, part in parts.items()}
        total = sum(
            self._weight(term, done) * self._weighed(term.name, self.scales.get(term.name, 1.0) * parts[term.name]) for term in self.terms
        )
        return total, {name: part.detach() for name, part in parts.items()}  # type: ignore[return-value]

    def _weight(self, term: Term, done: float) -> float:
        head = self.heads.get(term.config.head or "")
        return weight_at(term.config, done) * (head.weight if head else 1.0)

    def _weighed(self, name: str, part: Tensor) -> Tensor:
        return (-self.doubts[name]).exp() * part + nn.functional.softplus(self.doubts[name]) if name in self.doubts else part

    @property
    def learned(self) -> dict[str, float]:
        """The factor of each term whose weight is learned."""
        return {name: math.exp(-float(doubt.detach())) for name, doubt in self.doubts.items()}


def labels_of(head: Head, labels: Tensor) -> Tensor:
    """A head's own of all labels (R, L): (R,) or (R, K_h) int64, -1 where a row lacks them; of numbers float32, NaN there."""
    own = labels[:, head.labels]
    lacks = (~torch.isfinite(own) | (own == ABSENT)).any(1, keepdim=True)
    if head.kind == "values":
        return own.masked_fill(lacks, torch.nan)
    whole = own.nan_to_num().masked_fill(lacks, -1).long()
    return whole[:, 0] if head.kind == "place" else whole


def cut_vectors(vectors: Tensor, towers: int, size: int) -> Tensor:
    """(R, M size) of length 1 each: the first `size` numbers of each of M vectors behind each other."""
    return torch.cat([nn.functional.normalize(part[:, :size], dim=1) for part in vectors.chunk(towers, 1)], 1)


def weight_at(loss: Loss, done: float) -> float:
    """The weight of a term after the share `done` of the steps, as `loss.schedule` says."""
    first, last = loss.weight, loss.end_weight
    match loss.schedule:
        case "linear":
            return first + (last - first) * done
        case "cosine":
            return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
        case "warmup":
            return last + (first - last) * min(1.0, done / WARM)
    return first


def at_the_end(losses: Sequence[Loss]) -> list[Loss]:
    """The losses with the weights of the last step from now on; as they start where none would be left."""
    last = [
        loss if loss.schedule == "learned" else loss.model_copy(update={"weight": weight_at(loss, 1.0), "schedule": "constant"})
        for loss in losses
    ]
    return last if any(loss.weight for loss in last) else list(losses)


def projection(width: int, wanted: int) -> nn.Linear:
    """A linear layer D_s -> D_t that starts as a turn, the same one each time: a run that is killed before its first checkpoint begins alike."""
    layer = nn.Linear(width, wanted)
    nn.init.orthogonal_(layer.weight, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(layer.bias)
    return layer


def starting_scales(objective: Objective, parts: Mapping[str, Tensor]) -> dict[str, float]:
    """For each term that is larger than the one of labels, of its head if it has one, the factor that makes it as large; nothing where there
    is none of labels.

    `parts`: the terms of a fresh student. With many classes and a sure teacher KD at T = 4 starts at 10 to 30 times the cross-entropy.
    """
    scales = {}
    for term in objective.terms:
        alike = [one for one in objective.terms if one.of_labels and term.config.head in (None, one.config.head)]
        labels, part = float(parts[alike[0].name]) if alike else 0.0, float(parts[term.name])
        if not term.of_labels and part > labels > 0:
            scales[term.name] = labels / part
    return scales


def unique(name: str, taken: Sequence[str]) -> str:
    """The name, with a number behind it where it is taken."""
    return next(one for one in (name, *(f"{name} {n}" for n in range(2, len(taken) + 3))) if one not in taken)
