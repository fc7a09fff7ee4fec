"""A label for each word: names of people and places in a text, parts of speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.io_spec import Port
from compress.tasks.labels import known
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric


class TokenLabels(Task):
    """The label is a list, or holds one label for each word with spaces between them; logits are (R, W K), the K of each of W words in turn.

    The first token of a word answers for it. Labels are (R, W) int16, K where a row has no such word, and so are answers. Facts: names, the
    labels. A row's gain is the F1 of its entities where labels mark these (B-, I-), else the share of its words that are right.
    """

    column = "label"
    losses = ("token_cross_entropy", "token_kd")
    objective = ({"name": "token_cross_entropy"}, {"name": "token_kd", "options": {"temperature": 2.0}})
    rivals = {
        "token_kd, T = 1": {"name": "token_kd", "options": {"temperature": 1.0}},
        "token_kd, T = 4": {"name": "token_kd", "options": {"temperature": 4.0}},
    }
    metric = "row_f1"
    measure = "F1 of a row's entities"
    constant = "the commonest label"
    unknown = "labels that cannot be used"
    misfit = "not one label for each word"
    hidden = False
    one_of_many = False
    balances = False
    foreign = ("folder", "hub")
    reads = {"text": {"words": True}}

    def __init__(self, name: str, *, words: int = 32) -> None:
        super().__init__(name)
        self.words = words

    def with_facts(self, facts: Mapping[str, Any]) -> Task:
        """The same task; of labels that mark no entities another metric decides."""
        from compress.measures.entities import are_marked

        told = super().with_facts(facts)
        if "names" in told.facts and not are_marked(told.facts["names"]):
            told.metric, told.measure = "row_accuracy", "words of a row labelled right"
        return told

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """Lists of strings; null where the cell is blank."""
        import pyarrow as pa

        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind):
            cells = [(cell or "").split() or None for cell in column.cast(kind).to_pylist()]
        elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_string(kind.value_type):
            cells = [cell or None for cell in column.to_pylist()]
        else:
            raise DataError(f"{place} is {column.type}, but labels of words are names with spaces between them or lists of names")
        return pa.chunked_array([pa.array(cells, pa.list_(pa.string()))])

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """The labels of the training split, O first, then by alphabet and type: B-PER before I-PER."""
        import pyarrow.compute as pc

        used = pc.list_flatten(column.drop_null()).unique().to_pylist()
        if len(used) < 2:
            raise DataError(
                f"data: the words of the training split have {len(used)} different labels ({', '.join(used)}); at least 2 are needed"
            )
        return sorted(used, key=lambda name: (name != "O", name.partition("-")[::-1]))

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """The names themselves, by which entities are told."""
        return {"names": list(names)}

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R, W) int16; a row with a label that train has not, or of more than W words, has none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        places = pc.fill_null(pc.index_in(pc.list_flatten(column), pa.array(names, pa.string())), -1).to_numpy()
        rows, starts = np.repeat(np.arange(len(column)), counts), np.cumsum(counts) - counts
        words = np.arange(len(places)) - np.repeat(starts, counts)
        labels, inside = np.full((len(column), self.words), len(names), np.int16), words < self.words
        labels[rows[inside], words[inside]] = places[inside]
        blank = pc.is_null(column).to_numpy().astype(bool)
        labels[blank | (counts > self.words) | (labels < 0).any(1)] = -1
        return labels, blank

    def fault(self, cell: Any, names: list[str]) -> str:
        """Too many words, or labels that train has not."""
        if len(cell) > self.words:
            return f"{len(cell)} words, at most {self.words}: raise data.task_options.words"
        others = [name for name in dict.fromkeys(cell) if name not in set(names)]
        return f"{', '.join(map(repr, others))}: no {'label' if len(others) == 1 else 'labels'} of the training split"

    def misfits(self, table: pa.Table) -> tuple[np.ndarray, Callable[[int], str]]:
        """Rows whose text has more or fewer words than there are labels."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if "text" not in table.column_names or not pa.types.is_string(table.column("text").type):
            return super().misfits(table)
        texts = pc.utf8_trim_whitespace(pc.fill_null(table.column("text"), ""))
        words = pc.list_value_length(pc.utf8_split_whitespace(texts)).to_numpy()
        labels = pc.fill_null(pc.list_value_length(table.column(self.column)), 0).to_numpy()
        return (labels > 0) & (words != labels), lambda row: f"{words[row]} words and {labels[row]} labels"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest label of each row."""
        count = int(labels.max(initial=0)) + 1
        totals = np.bincount(labels[labels >= 0].astype(np.int64), minlength=count)
        rarity = np.where((labels >= 0) & (labels < self._none(labels)), totals[np.maximum(labels, 0)], labels.size + 1)  # (R, W)
        rarest = labels[np.arange(len(labels)), rarity.argmin(1)] if len(labels) else np.zeros(0)
        return np.where(known(labels), rarest, -1).astype(np.int32)

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Words of each label, and words a row."""
        counts = np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(names) + 1)[: len(names)]
        return {"label_counts": dict(zip(names, counts.tolist(), strict=True)), "words_a_row": float(counts.sum() / max(len(labels), 1))}

    def port(self, names: list[str]) -> Port:
        """logits (W K,) float32."""
        return Port("logits", "float32", (self.words * len(names),), each=self.words)

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """At every word the votes for each label among the words of a code's rows, so the commonest one answers."""
        size = len(self.facts["names"])
        votes = np.zeros((count, size + 1))
        np.add.at(votes, (np.repeat(codes, labels.shape[1]), labels.reshape(-1)), 1)
        return np.tile(votes[:, :size] + 1, (1, self.words))  # no word has logits that are all 0

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, W) int16 arg-max of each word, K where there is none; -1 throughout where a logit of the row is not finite."""
        by_word = logits.reshape(len(logits), self.words, -1)
        found = np.where((by_word != 0).any(2), np.nan_to_num(by_word).argmax(2), by_word.shape[2])
        return np.where(np.isfinite(logits).all(1, keepdims=True), found, -1).astype(np.int16)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) the F1 of a row's entities, or the share of its words that are right."""
        from compress.measures.entities import count_entities, f1

        if self.metric == "row_f1":
            return f1(*count_entities(answers, labels, self.facts["names"]).T)
        words = (labels >= 0) & (labels < len(self.facts["names"]))
        return ((answers == labels) & words).sum(1) / np.maximum(words.sum(1), 1)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """F1, precision and recall of all entities, F1 with its interval, where labels mark entities; and the share of words."""
        from compress.measures.entities import count_entities, f1, f1_interval
        from compress.measures.metrics import Metric

        names = self.facts.get("names", [])

        def counts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return count_entities(self.answers(logits), labels, names)

        def share(both: float, total: float) -> float:
            return float(both / total) if total else 1.0

        def words_right(logits: np.ndarray, labels: np.ndarray) -> float:
            words = (labels >= 0) & (labels < len(names))
            return share(((self.answers(logits) == labels) & words).sum(), words.sum())

        own = {
            self.metric: Metric(self.score, "fraction", True),
            "word_accuracy": Metric(words_right, "fraction", True),
        }
        if self.metric != "row_f1":
            return own
        return own | {
            "entity_f1": Metric(
                lambda logits, labels: float(f1(*counts(logits, labels).sum(0))),
                "fraction",
                True,
                lambda logits, labels: f1_interval(counts(logits, labels)),
            ),
            "entity_precision": Metric(lambda logits, labels: share(*counts(logits, labels).sum(0)[[0, 1]]), "fraction", True),
            "entity_recall": Metric(lambda logits, labels: share(*counts(logits, labels).sum(0)[[0, 2]]), "fraction", True),
        }

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The words of each label, whether they are right."""
        return {name: (answers == labels)[labels == k] for k, name in enumerate(names) if np.any(labels == k)}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """The labels, word after word."""
        return " ".join(names[k] for k in answer if 0 <= k < len(names)) if np.all(answer >= 0) else "not a number"

    def sentence(self, names: list[str]) -> str:
        """`one of K labels for each word`."""
        return f"one of {len(names)} labels for each of up to {self.words} words"

    def _none(self, labels: np.ndarray) -> int:
        """What stands where there is no word."""
        return len(self.facts["names"]) if "names" in self.facts else int(labels.max(initial=0))
