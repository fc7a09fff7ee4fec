"""Several of K tags, or none: keywords of a text, what is to be seen in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.io_spec import Port
from compress.tasks.labels import log_odds
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric

FEW = 5  # rows of a tag in validation below which its threshold stays where training put it


class MultiLabel(Task):
    """The label holds tags with a separator between them, or is a list; labels are (R, K) int8, logits (R, K), one sigmoid a tag.

    A tag is given where its logit is above its threshold, which validation rows choose for each model (`facts`: thresholds (K,) of logits).
    """

    column = "label"
    losses = ("binary_cross_entropy", "binary_kd")
    hidden = True
    objective = ({"name": "binary_cross_entropy"}, {"name": "binary_kd", "options": {"temperature": 2.0}})
    rivals = {
        "binary_kd, T = 1": {"name": "binary_kd", "options": {"temperature": 1.0}},
        "binary_kd, T = 4": {"name": "binary_kd", "options": {"temperature": 4.0}},
    }
    forms = ("answers", "probabilities", "logits")
    as_head = "flags"
    metric = "row_f1"
    measure = "F1 of a row's tags"
    constant = "the commonest tags"
    unknown = "unknown tag"
    hint = "data.task_options: {blank_is_none: true} takes a blank cell for a row without tags."

    def __init__(self, name: str, *, separator: str = "|", blank_is_none: bool = False) -> None:
        super().__init__(name)
        self.separator, self.blank_is_none = separator, blank_is_none

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """Lists of strings; null where the cell is blank, an empty list where it is an empty list."""
        import pyarrow as pa

        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind):
            cells = [None if not (cell or "").strip() else self._tags(cell.split(self.separator)) for cell in column.cast(kind).to_pylist()]
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            if not (pa.types.is_string(kind.value_type) or pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)):
                raise DataError(f"{place} is {column.type}, but tags are names or whole numbers")
            cells = [None if cell is None else self._tags(map(str, cell)) for cell in column.to_pylist()]
        else:
            raise DataError(f"{place} is {column.type}, but tags are texts or lists; data.task: regression learns numbers")
        if self.blank_is_none:
            cells = [cell or [] for cell in cells]
        return pa.chunked_array([pa.array(cells, pa.list_(pa.string()))])

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """The tags of the training split by number or alphabet; DataError where every row has exactly one."""
        import pyarrow.compute as pc

        lists = column.drop_null()
        used = pc.list_flatten(lists).unique().to_pylist()
        if not used:
            raise DataError("data: no row of the training split has a tag")
        if pc.all(pc.equal(pc.list_value_length(lists), 1)).as_py():
            raise DataError(
                f"data: every row of the training split has exactly one tag, such as {used[0]!r}: set data.task_options.separator (it is "
                f"{self.separator!r}) to what stands between tags, or data.task: single_label"
            )
        numeric = all(name.isascii() and name.isdigit() for name in used)
        return sorted(used, key=lambda name: (int(name), name)) if numeric else sorted(used)

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R, K) int8; a row with a tag that train has not is unknown."""
        import pyarrow as pa
        import pyarrow.compute as pc

        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        rows = np.repeat(np.arange(len(column)), counts)
        tags = pc.fill_null(pc.index_in(pc.list_flatten(column), pa.array(names, pa.string())), -1).to_numpy()
        blank = pc.is_null(column).to_numpy()
        labels = np.zeros((len(column), len(names)), np.int8)
        labels[rows[tags >= 0], tags[tags >= 0]] = 1
        labels[rows[tags < 0]] = -1
        labels[blank] = -1
        return labels, blank.astype(bool)

    def fault(self, cell: Any, names: list[str]) -> str:
        """The tags that train has not."""
        others = [tag for tag in cell if tag not in set(names)]
        return f"{', '.join(map(repr, others))}: no {'tag' if len(others) == 1 else 'tags'} of the training split"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest tag of each row, and K for a row without tags."""
        counts = (labels > 0).sum(0)
        rarity = np.where(labels > 0, counts, len(labels) + 1)  # (R, K)
        rarest = np.where((labels > 0).any(1), rarity.argmin(1), labels.shape[1])
        return np.where((labels >= 0).all(1), rarest, -1).astype(np.int32)

    def shift(self, labels: np.ndarray, names: list[str]) -> np.ndarray:
        """The log odds of each tag; a tag counts for half a row more than it has, so that none is without odds."""
        given, rows = (labels > 0).sum(0) + 0.5, len(labels) + 1
        return np.log(given / (rows - given))

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Rows of each tag, of none, and tags a row."""
        counts = (labels > 0).sum(0)
        return {
            "label_counts": dict(zip(names, counts.tolist(), strict=True)),
            "rows_without_tags": int((~(labels > 0).any(1)).sum()),
            "tags_a_row": float(counts.sum() / max(len(labels), 1)),
        }

    def port(self, names: list[str]) -> Port:
        """logits (K,) float32."""
        return Port("logits", "float32", (len(names),))

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """1 for the commonest tags of each code, as many as its rows have on average, and -1 for the others."""
        votes, rows = np.zeros((count, labels.shape[1])), np.bincount(codes, minlength=count)
        np.add.at(votes, codes, labels)
        given = np.rint(votes.sum(1) / np.maximum(rows, 1))  # (count,)
        rank = np.argsort(np.argsort(-votes, axis=1, kind="stable"), axis=1)
        return np.where(rank < given[:, None], 1.0, -1.0)

    def vote(self, labels: np.ndarray, codes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The log odds of each tag's share of the votes, no surer than FLOOR."""
        votes = np.zeros(shape)
        np.add.at(votes, codes, labels)
        return log_odds(votes / np.maximum(np.bincount(codes, minlength=shape[0]), 1)[:, None])

    def from_probabilities(self, p: np.ndarray) -> tuple[np.ndarray, str, np.ndarray]:
        """Log odds, no surer than FLOOR."""
        return log_odds(p), "probabilities from 0 to 1", np.all((p >= 0) & (p <= 1), axis=1)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """F1 in three means, and mean average precision."""
        from compress.measures.metrics import Metric
        from compress.measures.tags import mean_average_precision, row_f1, tag_f1

        def scored(average: str, logits: np.ndarray, labels: np.ndarray) -> float:
            return tag_f1(self.answers(logits), labels, average=average)

        return {
            "row_f1": Metric(lambda logits, labels: float(row_f1(self.answers(logits), labels).mean()), "fraction", True),
            "micro_f1": Metric(partial(scored, "micro"), "fraction", True),
            "macro_f1": Metric(partial(scored, "macro"), "fraction", True),
            "mean_average_precision": Metric(mean_average_precision, "fraction", True),
        }

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """The threshold of each tag with the best F1 on these rows, half-way between two logits; 0 where fewer than FEW rows have it."""
        return {"thresholds": [_threshold(logits[:, k], labels[:, k] > 0) for k in range(labels.shape[1])]}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, K) int8: the tags over their thresholds; -1 throughout where a logit is not finite."""
        given = (logits > self._thresholds(logits)).astype(np.int8)
        given[~np.isfinite(logits).all(1)] = -1
        return given

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) F1 of each row's tags."""
        from compress.measures.tags import row_f1

        return row_f1(answers, labels)

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """Of the rows that have a tag, or were given it: whether both. Tags that no row has are left out."""
        wanted, given = labels > 0, answers > 0
        return {name: (wanted & given)[wanted[:, k] | given[:, k], k] for k, name in enumerate(names) if wanted[:, k].any()}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """The tags."""
        if (answer < 0).any():
            return "not a number"
        return ", ".join(name for name, given in zip(names, answer) if given) or "none"

    def sentence(self, names: list[str]) -> str:
        """`any of K tags`."""
        return f"any of {len(names)} tags"

    def _tags(self, tags: Any) -> list[str]:
        return list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))

    def _thresholds(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(self.facts.get("thresholds", np.zeros(logits.shape[1])), np.float32)


def _threshold(logits: np.ndarray, wanted: np.ndarray) -> float:
    """Half-way between the two logits (R,) that part `wanted` (R,) bool best; of equally good places the one nearest to 0."""
    if wanted.sum() < FEW or wanted.all():
        return 0.0
    order = np.argsort(-logits, kind="stable")
    value, hits = logits[order].astype(np.float64), np.cumsum(wanted[order])
    given = np.arange(1, len(value) + 1)
    f1 = 2 * hits / (given + wanted.sum())
    places = np.append((value[:-1] + value[1:]) / 2, value[-1] - 1)
    f1[np.append(value[:-1] == value[1:], False)] = -1  # equal logits cannot be parted
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(places[best[np.abs(places[best]).argmin()]])
