"""Same or not: two faces, two voices, two texts, by the cosine of their vectors and a threshold that ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.tasks.embedding import Embedding

if TYPE_CHECKING:
    from compress.measures.metrics import Metric


class Verification(Embedding):
    """Logits are (R, D) vectors of length 1; the label says who or what a row is of, and a split may have labels that no other has.

    Every two rows of a split are a pair. Facts: threshold, the cosine from which a pair is the same, where on validation rows as many of the
    same as of the different pairs are told wrongly. Answers are (R, D + 1): the vector, and the threshold of the model that made it.
    A row's gain is the mean of two shares: of its same pairs, and of its different ones, those that are told right.
    """

    column = "label"
    losses = ("label_contrast", "vector_kd", "vector_neighbours")
    hidden = True
    objective = ({"name": "label_contrast"}, {"name": "vector_kd"})
    metric = "pairs_told_right"
    measure = "pairs told right, same and different alike"
    one_of_many = False
    balances = False
    foreign = ("folder", "hub", "run")
    joint = False
    open_set = True

    def __init__(self, name: str, *, size: int = 384) -> None:
        super().__init__(name, size=size)

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """Each split needs pairs of both kinds."""
        for split, own in labels.items():
            counts = np.unique(own[own >= 0], return_counts=True)[1]
            if len(counts) < 2:
                missing = f"rows of one label alone, {names[int(own.max())]!r}, so no different pair" if len(counts) else "no label"
            elif counts.max() < 2:
                missing = "one row of each label, so no same pair"
            else:
                continue
            way = (
                "raise data.validation_fraction, or give a file of its own"
                if split == "validation"
                else "give it rows of two labels, two of one"
            )
            raise DataError(f"data: {split} has {missing}, and a threshold needs both kinds; {way}")

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """One class: no label needs to stay in train, so a group that is a label of its own may leave it whole."""
        return np.where(labels >= 0, 0, -1).astype(np.int32)

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """{threshold}: the cosine of the equal error rate; nothing where one kind of pair is missing."""
        from compress.measures.verification import equal_error, pairs_of

        threshold = equal_error(pairs_of(logits, np.asarray(labels)))[1]
        return {} if np.isnan(threshold) else {"threshold": threshold}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, D + 1) float32: vectors of length 1, NaN throughout where a number is not finite; and the threshold, 0 where none is known."""
        vectors = super().answers(logits)
        return np.concatenate([vectors, np.full((len(vectors), 1), self.facts.get("threshold", 0.0), np.float32)], 1)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) how good the decisions on a row's pairs with the others of these rows are; of labels that are answers, the cosine to each."""
        from compress.measures.verification import told_right

        if np.ndim(labels) == 2:
            return super().gains(answers[:, :-1], labels[:, :-1])
        return told_right(answers[:, :-1], labels, answers[:, :-1], answers[:, -1])

    def marks(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """As of every task; where no threshold is known, with that of these very rows."""
        if "threshold" in self.facts:
            return super().marks(logits, labels)
        return self.with_facts({"threshold": 0.0, **self.fit(logits, labels)}).marks(logits, labels)

    def together(self, answers: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The equal error rate of this model's vectors against stored ones of the teacher's."""
        from compress.measures.verification import equal_error, pairs_of

        return {"among_the_teacher_equal_error_rate": equal_error(pairs_of(answers[:, :-1], labels, teacher[:, :-1]))[0]}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The share of pairs told right, and the rate at which both kinds of error are as frequent, with its interval."""
        from compress.measures.metrics import Metric
        from compress.measures.verification import Pairs, equal_error, equal_error_interval, pairs_of

        def of_pairs(compute: Callable[[Pairs], Any]) -> Callable[[np.ndarray, np.ndarray], Any]:
            return lambda logits, labels: compute(pairs_of(logits, labels))

        rate = of_pairs(lambda pairs: equal_error(pairs)[0])
        return {
            "pairs_told_right": Metric(self.score, "fraction", True),
            "equal_error_rate": Metric(rate, "fraction", False, of_pairs(equal_error_interval)),
        }

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """A label's name, or how a vector begins."""
        return super().show(answer if np.ndim(answer) == 0 else answer[:-1], names)

    def sentence(self, names: list[str]) -> str:
        """`vectors of D numbers, ...`."""
        return f"vectors of {self.size} numbers whose cosine says whether two rows are of the same, from a threshold on"
