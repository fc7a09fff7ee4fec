"""A vector whose cosine ranks: search, nearest neighbours, what is like what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric

FIRST = (1, 10)  # places of a ranking that recall is counted at
SCORED = 5_000  # rows that a training's score looks at, evenly spread


class Embedding(SingleLabel):
    """Logits are (R, D) vectors of length 1; the label, a name or a number, says which rows are alike, (R,) int32 as of one of K.

    Every row is a query, and all other rows of its split are the gallery: its gain is whether the nearest one has its label (of several
    that are equally near the share that has). A row whose label no other has finds nothing.
    """

    column = "label"
    losses: ClassVar[tuple[str, ...]] = ("label_contrast", "vector_kd", "vector_neighbours")
    hidden = True
    objective: ClassVar[tuple[dict[str, Any], ...]] = ({"name": "vector_kd"}, {"name": "vector_neighbours"})
    rivals = {"vector_kd": {"name": "vector_kd"}, "vector_neighbours": {"name": "vector_neighbours"}}
    metric = "recall_at_1"
    measure = "queries that find their like first"
    agreement = "mean cosine to the teacher's vectors"
    constant = "the same vector"
    one_of_many = False
    as_head = ""
    balances = False
    foreign = ("folder", "hub", "run")  # sentence encoders; the logits of a classifier span no space that is searched
    joint = True

    def __init__(self, name: str, *, size: int = 384, dimensions: list[int] | None = None) -> None:
        super().__init__(name)
        self.size, self.dimensions = size, tuple(dimensions or ())
        if any(not 0 < one < size for one in self.dimensions):
            raise RecipeError(f"data.task_options.dimensions: {dimensions}; vectors of {size} numbers can be cut to 1 to {size - 1}")

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """{dimensions}: to how many numbers the vectors may be cut, where that was asked."""
        return {"dimensions": list(self.dimensions)} if self.dimensions else {}

    def port(self, names: list[str]) -> Port:
        """logits (D,) float32, which the graph brings to length 1."""
        return Port("logits", "float32", (self.size,), unit=True, prefixes=self.dimensions)

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """A direction of its own, drawn by chance, for the commonest label of each code."""
        commonest = super().guess(labels, codes, count).argmax(1)
        return np.random.default_rng(0).normal(size=(int(labels.max(initial=0)) + 1, self.size))[commonest]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Recall among the first, and the mean reciprocal rank of the first hit."""
        from compress.measures.metrics import Metric

        def mean(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
            return self.worth(logits, labels, logits)[name]

        cut = {f"recall_at_1_of_{size}_numbers": Metric(partial(self.worth_cut, size), "fraction", True) for size in self.dimensions}
        return {name: Metric(partial(mean, name), "fraction", True) for name in self.measured} | cut

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Nothing: vectors have no probabilities."""
        return {}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, D) float32 of length 1; NaN throughout where a number is not finite."""
        from compress.measures.retrieval import unit

        return unit(logits)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) whether the nearest other of these rows has the row's label; of labels that are vectors (R, D), the cosine to each."""
        from compress.measures.retrieval import rank_by_label, unit

        if np.ndim(labels) == 2:
            return np.nan_to_num((unit(answers) * unit(labels)).sum(1))
        return rank_by_label(answers, np.asarray(labels), answers).recall(1)

    def marks(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """As of every task, on at most SCORED rows."""
        rows = np.arange(len(labels))
        if len(rows) > SCORED:
            rows = rows[np.arange(SCORED) * len(rows) // SCORED]
        return super().marks(logits[rows], np.asarray(labels)[rows])

    def together(self, answers: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The metrics of this model's queries in a gallery of the teacher's vectors."""
        return {f"among_the_teacher_{name}": value for name, value in self.worth(answers, labels, teacher).items()}

    @property
    def measured(self) -> list[str]:
        """The names of what `worth` gives."""
        return list(_NAMES)

    def worth(self, queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
        """How well queries (R, D) of these labels rank a gallery (R, D)."""
        return _worth(queries, labels, gallery)

    def worth_cut(self, size: int, logits: np.ndarray, labels: np.ndarray) -> float:
        """How many queries find their like first where all vectors are cut to their first `size` numbers."""
        cut = self.cut(logits, size)
        return self.worth(cut, labels, cut)["recall_at_1"]

    def cut(self, vectors: np.ndarray, size: int) -> np.ndarray:
        """The first `size` numbers of each vector."""
        return vectors[:, :size]

    def right(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether the nearest is a like."""
        return self.gains(answers, labels) >= 0.5

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The queries of each label."""
        gains = self.gains(answers, labels)
        return {name: gains[labels == k] for k, name in enumerate(names) if np.any(labels == k)}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """A label's name, or how a vector begins."""
        if np.ndim(answer) == 0:
            return super().show(answer, names)
        return f"({', '.join(f'{value:.2f}' for value in answer[:3])}, ...)" if np.isfinite(answer).all() else "not a number"

    def sentence(self, names: list[str]) -> str:
        """`vectors of D numbers, ...`."""
        return f"vectors of {self.size} numbers whose cosine ranks; rows of one of {len(names)} labels are alike"


_NAMES = (*(f"recall_at_{k}" for k in FIRST), "mean_reciprocal_rank")


def _worth(queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
    from compress.measures.retrieval import rank_by_label

    ranks = rank_by_label(queries, np.asarray(labels), gallery)
    found = [*(ranks.recall(k) for k in FIRST), ranks.reciprocal()]
    return {name: float(values.mean()) for name, values in zip(_NAMES, found, strict=True)}
