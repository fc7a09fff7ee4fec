"""One of K labels: classification, and questions whose answers are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.errors import DataError
from compress.io_spec import Port
from compress.tasks.labels import SUM, log_p
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric


class SingleLabel(Task):
    """The label is a name or a number; logits are (R, K) in the order of the labels, and the largest one answers.

    Under data.imbalance (fact `balanced`) each label counts as much as another, however many rows it has.
    """

    column = "label"
    losses: ClassVar[tuple[str, ...]] = (
        "cross_entropy",
        "weighted_cross_entropy",
        "focal",
        "kd",
        "kd_standardised",
        "dkd",
        "dist",
        "logit_mse",
        "logit_l1",
        "teacher_label",
    )
    hidden = True
    objective: ClassVar[tuple[dict[str, Any], ...]] = ({"name": "cross_entropy"}, {"name": "kd", "options": {"temperature": 2.0}})
    rivals = {
        "kd, T = 1": {"name": "kd", "options": {"temperature": 1.0}},
        "kd, T = 4": {"name": "kd", "options": {"temperature": 4.0}},
        "dist": {"name": "dist"},
    }
    forms = ("answers", "probabilities", "logits")
    one_of_many = True
    as_head = "place"
    metric = "accuracy"
    measure = "accuracy"

    def with_facts(self, facts: Mapping[str, Any]) -> Task:
        """The same task; balanced, another metric decides."""
        told = super().with_facts(facts)
        if told.facts.get("balanced"):
            told.metric, told.measure = "balanced_accuracy", f"balanced {told.measure}"
        return told

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """Names as strings, or a dictionary of them."""
        import pyarrow as pa

        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not pa.types.is_string(kind):
            raise DataError(f"{place} is {column.type}, but a label is a name or a whole number; {_OTHER_TASK}")
        return column

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """The labels that the training split uses: in the column's own order if it is a dictionary, else by number or alphabet."""
        import pyarrow as pa

        plain = column.cast(pa.string())
        used = set(plain.filter(pa.array(~_blank(plain))).unique().to_pylist())
        if pa.types.is_dictionary(column.type):
            own = column.unify_dictionaries().chunk(0).dictionary.to_pylist() if column.num_chunks else []
            return [name for name in own if name in used]
        numeric = all(name.isascii() and name.isdigit() for name in used)
        return sorted(used, key=lambda name: (int(name), name)) if numeric else sorted(used)

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """Two labels are needed."""
        if len(names) < 2:
            raise DataError(f"data: the training split has {len(names)} labels ({', '.join(names)}); a classifier needs at least 2")

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R,) int32 places in `names`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = column.cast(pa.string())
        codes = pc.fill_null(pc.index_in(plain, pa.array(names, pa.string())), -1).to_numpy()
        return codes.astype(np.int32), _blank(plain)

    def fault(self, cell: Any, names: list[str]) -> str:
        """The name that train has not."""
        return f"{cell!r} is no label of the training split"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The labels themselves."""
        return labels

    def shift(self, labels: np.ndarray, names: list[str]) -> np.ndarray:
        """The log share of each label, less their mean, which softmax does not see; a label counts for half a row more than it has."""
        log_p = np.log(np.bincount(labels, minlength=len(names)) + 0.5)
        return log_p - log_p.mean()

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Rows of each label, and the commonest one with its share."""
        counts = np.bincount(labels[labels >= 0], minlength=len(names))
        return {
            "label_counts": dict(zip(names, counts.tolist(), strict=True)),
            "majority_label": names[int(counts.argmax())],
            "majority_share": float(counts.max() / max(counts.sum(), 1)),
        }

    def port(self, names: list[str]) -> Port:
        """logits (K,) float32."""
        return Port("logits", "float32", (len(names),))

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """The votes for each label, so the commonest one answers; of equally frequent ones the first."""
        return _votes(labels, codes, (count, int(labels.max(initial=0)) + 1))

    def vote(self, labels: np.ndarray, codes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """log p of each label's share of the votes; nobody's label has FLOOR."""
        votes = _votes(labels, codes, shape)
        return log_p(votes / np.maximum(votes.sum(1, keepdims=True), 1))

    def from_probabilities(self, p: np.ndarray) -> tuple[np.ndarray, str, np.ndarray]:
        """log p, at least that of FLOOR; a row must sum to 1 within SUM."""
        right = (p >= -SUM).all(1) & (np.abs(p.sum(1) - 1) <= SUM)
        return log_p(p), "probabilities that sum to 1", right

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """METRICS of classification."""
        from compress.measures.metrics import METRICS

        return METRICS

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """The temperature with which this model's probabilities mean what they say; nothing where few rows could tell."""
        from compress.measures.labels import fit_temperature

        found = fit_temperature(logits, np.asarray(labels))
        return {} if found is None else {"temperature": found}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R,) int32 arg-max; -1 where a logit is not finite."""
        return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1).astype(np.int32)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) bool: the answer is the label; if balanced, times R / (K n) where n of these R rows have one of K labels."""
        right = self.right(answers, labels)
        if not self.facts.get("balanced"):
            return right
        counts = np.bincount(labels[labels >= 0], minlength=1)
        share = (labels >= 0).sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))  # (K,)
        return np.where(right, share[np.maximum(labels, 0)], 0.0)

    def right(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The answer is the label; no row without a label is right."""
        return (answers == labels) & (labels >= 0)

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The rows of each label."""
        right = self.right(answers, labels)
        return {name: right[labels == k] for k, name in enumerate(names) if np.any(labels == k)}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """The name."""
        return names[int(answer)] if answer >= 0 else "not a number"

    def sentence(self, names: list[str]) -> str:
        """`classification into K labels`."""
        return f"classification into {len(names)} labels"


def _votes(labels: np.ndarray, codes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    votes = np.zeros(shape, np.int64)
    np.add.at(votes, (codes, labels), 1)
    return votes


_OTHER_TASK = "data.task: regression learns numbers, multi_label takes several names a row"


def _blank(column: pa.ChunkedArray) -> np.ndarray:
    """(R,) bool: null, empty or white space alone."""
    import pyarrow.compute as pc

    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(column, "")), "").to_numpy(zero_copy_only=False).astype(bool)
