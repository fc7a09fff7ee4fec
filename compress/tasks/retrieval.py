"""A vector for each input of a row, all in one space: a picture finds its text, a text its picture, a spoken word both."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.io_spec import Port
from compress.tasks.embedding import Embedding
from compress.tasks.task import CLOSE

FIRST = (1, 5, 10)  # places of a ranking that recall is counted at


class Retrieval(Embedding):
    """Logits are (R, M D): a vector of length 1 for each of the M inputs of a row, which a tower of its own makes of that input alone.

    Facts: towers, the names of the inputs in that order. Rows of one label are alike; without a column label those are that share an input.
    For each two towers, every row's vector of the one is a query and what the other made of all rows is the gallery, in which the
    row's own partner is a hit too. A row's gain is the mean over these directions of whether the nearest is a hit.
    """

    losses = ("tower_contrast", "vector_kd", "tower_affinity", "tower_neighbours")
    hidden = False
    objective = ({"name": "tower_contrast"}, {"name": "vector_kd"}, {"name": "tower_affinity"})
    rivals = {
        "vector_kd": {"name": "vector_kd"},
        "tower_affinity": {"name": "tower_affinity"},
        "tower_neighbours": {"name": "tower_neighbours"},
    }
    metric = "recall_at_1"
    measure = "queries that find their like first"
    agreement = "mean cosine to the teacher's vectors"
    one_of_many = False
    balances = False
    foreign = ("folder", "hub", "run")
    joint = True
    open_set = True
    towers = True

    def __init__(self, name: str, *, size: int = 128, dimensions: list[int] | None = None) -> None:
        super().__init__(name, size=size, dimensions=dimensions)

    @property
    def names_of_towers(self) -> list[str]:
        """The inputs, in the order of their vectors."""
        return list(self.facts["towers"])

    @property
    def directions(self) -> list[tuple[str, str]]:
        """(query's tower, gallery's tower) of each two."""
        return list(permutations(self.names_of_towers, 2))

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """Each split needs rows that are not alike."""
        for split, own in labels.items():
            if len(np.unique(own[own >= 0])) < 2:
                raise DataError(f"data: all labelled rows of {split} are alike, so whatever is found is right; give it rows of two labels")

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """One class: most labels are of a row or two, and none needs to stay in train."""
        return np.where(labels >= 0, 0, -1).astype(np.int32)

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """How many different labels the rows have, which are too many to be listed."""
        return {"label_counts": {}, "different_labels": len(np.unique(labels[labels >= 0]))}

    def port(self, names: list[str]) -> Port:
        """logits (M D,) float32: M vectors behind each other, each of which the graph brings to length 1."""
        towers = len(self.names_of_towers)
        return Port("logits", "float32", (towers * self.size,), unit=True, each=towers, prefixes=self.dimensions)

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """The same vector for everything: no input is told what another one's vector is."""
        return np.ones((count, len(self.names_of_towers) * self.size))

    def by_tower(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Vectors (R, M D) as (R, D) by tower."""
        names = self.names_of_towers
        return dict(zip(names, np.split(np.asarray(vectors), len(names), axis=1), strict=True))

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, M D) float32, the vector of each tower of length 1; NaN throughout that vector where a number is not finite."""
        return np.concatenate([super(Retrieval, self).answers(part) for part in self.by_tower(logits).values()], 1)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) the mean over all directions of whether the nearest is of the row's label; of labels that are vectors (R, M D), the mean cosine."""
        if np.ndim(labels) == 2:
            return super().gains(answers, labels)
        return np.mean([*self.parts(answers, labels, []).values()], axis=0)

    def right(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether in every direction the nearest is a like; whether vectors are near the teacher's."""
        return self.gains(answers, labels) >= CLOSE

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """Whether the nearest is a like, direction by direction."""
        return {f"{a} to {b}": ranks.recall(1) for (a, b), ranks in self._ranks(answers, labels, answers).items()}

    @property
    def measured(self) -> list[str]:
        """Recall among the first and the mean reciprocal rank of the first hit, over all directions and in each."""
        every = [*(f"recall_at_{k}" for k in FIRST), "mean_reciprocal_rank"]
        return [*every, *(f"{a}_to_{b}_{name}" for a, b in self.directions for name in every)]

    def worth(self, queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
        """How well queries (R, M D) of these labels rank a gallery (R, M D), each tower that of each other."""
        by_direction = {
            f"{a}_to_{b}": {
                **{f"recall_at_{k}": float(ranks.recall(k).mean()) for k in FIRST},
                "mean_reciprocal_rank": float(ranks.reciprocal().mean()),
            }
            for (a, b), ranks in self._ranks(queries, labels, gallery).items()
        }
        found = [*by_direction.values()]
        mean = {name: float(np.mean([worth[name] for worth in found])) for name in found[0]}
        return mean | {f"{direction}_{name}": value for direction, worth in by_direction.items() for name, value in worth.items()}

    def cut(self, vectors: np.ndarray, size: int) -> np.ndarray:
        """The first `size` numbers of the vector of each tower."""
        return np.concatenate([part[:, :size] for part in self.by_tower(vectors).values()], 1)

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """A label's name, or how the vector of each tower begins."""
        if np.ndim(answer) == 0:
            return super().show(answer, names) if names else f"label {answer}"
        return "; ".join(f"{name} {super(Retrieval, self).show(part[0], names)}" for name, part in self.by_tower(answer[None]).items())

    def sentence(self, names: list[str]) -> str:
        """`vectors of D numbers for image and text, ...`."""
        return f"vectors of {self.size} numbers for {' and '.join(self.names_of_towers)}, whose cosine ranks the ones by the others"

    def _ranks(self, queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> dict[tuple[str, str], Any]:
        """`Ranks` of queries and gallery (R, M D) for each direction."""
        from compress.measures.retrieval import rank_across

        asked, stored = self.by_tower(queries), self.by_tower(gallery)
        return {(a, b): rank_across(asked[a], np.asarray(labels), stored[b]) for a, b in self.directions}
