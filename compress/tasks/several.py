"""Several heads on one set of encoders: each has a column, a task, metrics and losses of its own, and a row may lack the labels of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compress.errors import DataError
from compress.io_spec import ABSENT, Head, Port
from compress.measures.metrics import Metric
from compress.tasks.labels import known, unlabelled
from compress.tasks.task import Task, task

if TYPE_CHECKING:
    import pyarrow as pa


class Part(NamedTuple):
    """One head: where its logits and labels stand, its own task with its own facts, and what its answers may be."""

    place: Head
    task: Task
    names: list[str]

    @property
    def name(self) -> str:
        """As data.heads has it."""
        return self.place.name

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """(R, K_h) of all logits (R, K)."""
        return logits[:, self.place.logits]

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Its own of all labels or answers (R, L), in the form of its task; none where a row lacks them."""
        own = np.asarray(labels)[:, self.place.labels]
        own = np.where((own == ABSENT).any(1, keepdims=True), np.nan, own).astype(np.float32)
        if self.place.kind == "values":
            return own
        whole = np.where(np.isfinite(own), own, -1).astype(np.int32)
        return whole[:, 0] if self.place.kind == "place" else whole

    def there(self, labels: np.ndarray) -> np.ndarray:
        """(R,) bool: the rows that have its label."""
        return known(self.labels(labels))


class Several(Task):
    """Each of the heads in data.heads has labels of its own, which a row may lack; logits (R, K) are those of the heads behind each other.

    Labels are (R, L) float32, those of the heads behind each other: ABSENT where a row lacks a head's, NaN throughout where it has none. Fact `heads`: of each its name, task, options, weight, names and facts. The
    figure that decides is the mean over the heads, each with the same say, of the mean gain of the rows that have its label.
    """

    column = "label"
    losses = ()
    hidden = True
    objective = ()
    of_heads = True
    metric = "mean_of_heads"
    measure = "mean of the heads"
    constant = "the commonest answers"
    unknown = "an unknown answer of a head"
    one_of_many = False
    foreign = ()  # whose outputs are not those of these heads

    def __init__(self, name: str, *, data_heads: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(name)
        self.asked = dict(data_heads or {})  # {name: {task, task_options, column, weight}}; what is made of them stands in the facts

    @property
    def heads(self) -> tuple[Part, ...]:
        """The heads, in the order of their logits."""
        found: list[Part] = []
        first = column = 0
        for told in self.facts.get("heads", ()):
            room = task(told["task"], options=told["options"], facts=told["facts"])
            place = Head(told["name"], room.as_head, first, room.port(told["names"]).shape[0], column, told["weight"])
            found.append(Part(place, room, told["names"]))
            first, column = first + place.outputs, column + place.columns
        return tuple(found)

    @property
    def on_labels(self) -> list[dict[str, Any]]:
        """That of each head."""
        return [{"name": part.task.losses[0], "head": part.name} for part in self.heads]

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """A struct with a field for each head, as its task has cells."""
        import pyarrow as pa

        if not pa.types.is_struct(column.type):
            raise DataError(f"{place} is {column.type}, but each head needs a label of its own; data.heads names their columns")
        fields = _fields(column)
        if absent := [name for name in self.asked if name not in fields]:
            raise DataError(f"{place} has nothing for data.heads.{absent[0]}; there are {', '.join(fields)}")
        rooms = self._rooms()
        return pa.table({name: rooms[name].cells(fields[name], f"{place}, data.heads.{name}") for name in self.asked}).to_struct_array()

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """`head: name` of each head's; the head alone where it has one number."""
        return [name if own == ["value"] else f"{name}: {one}" for name, own in self._names(column).items() for one in own]

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """{heads: of each {name, task, options, weight, names, facts}}."""
        rooms, fields, found = self._rooms(), _fields(column), []
        for name, own in self._names(column).items():
            facts = _told(name, partial(rooms[name].learn, fields[name], own))
            words = self.asked[name]
            kept = {"task": words["task"], "options": words["task_options"], "weight": words["weight"]}
            found.append({"name": name, **kept, "names": own, "facts": facts})
        return {"heads": found}

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """What each head's task needs, and a label of each in every split."""
        for part in self.heads:
            for split, own in labels.items():
                if not part.there(own).any():
                    raise DataError(
                        f"data.heads.{part.name}: no row of {split} has a label of this head; label some, or leave the head out"
                    )
            _told(part.name, partial(part.task.check, part.names, {split: part.labels(own) for split, own in labels.items()}))

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R, L) float32; a row with an unknown answer of any head has none, one that lacks some has those of the others."""
        fields, parts = _fields(column), []
        blank, wrong = np.ones(len(column), bool), np.zeros(len(column), bool)
        for part in self.heads:
            own, lacks = part.task.encode(fields[part.name], part.names)
            there = known(own)
            flat = own.reshape(len(own), part.place.columns).astype(np.float32)
            flat[~there] = ABSENT
            parts.append(flat)
            blank, wrong = blank & lacks, wrong | (~there & ~lacks)
        labels = np.concatenate(parts, 1)
        labels[blank | wrong] = np.nan
        return labels, blank

    def fault(self, cell: Any, names: list[str]) -> str:
        """That of the first head whose answer is unknown."""
        import pyarrow as pa

        for part in self.heads:
            value = cell[part.name]
            if value is None or value == []:
                continue
            own, lacks = part.task.encode(pa.chunked_array([pa.array([value])]), part.names)
            if not known(own).any() and not lacks.any():
                return f"data.heads.{part.name}: {part.task.fault(value, part.names)}"
        return str(cell)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Those of the first head that a row has a label of."""
        found, offset = np.full(len(labels), -1, np.int32), 0
        for part in self.heads:
            own = part.task.strata(part.labels(labels))
            taken = (found < 0) & (own >= 0)
            found[taken] = own[taken] + offset
            offset += int(own.max(initial=-1)) + 1
        return found

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Of each head its labelled rows, and what its task counts of them."""
        own = {part.name: (part, part.labels(labels)[part.there(labels)]) for part in self.heads}
        heads = {name: {"labelled_rows": len(some), **part.task.account(some, part.names)} for name, (part, some) in own.items()}
        return {"label_counts": {}, "heads": heads}

    def port(self, names: list[str]) -> Port:
        """logits (K,) float32, with the heads that they are of."""
        heads = tuple(part.place for part in self.heads)
        return Port("logits", "float32", (sum(head.outputs for head in heads),), heads=heads)

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """Each head's own; where the rows of a code lack its label, the best answer to all rows that have it."""
        found = []
        for part in self.heads:
            there, room = part.there(labels), np.zeros((count, part.place.outputs))
            if there.any():
                own, its = part.labels(labels)[there], codes[there]
                always = part.task.guess(own, np.zeros(len(own), np.int64), 1)
                by_code = part.task.guess(own, its, count)  # of one of K labels as many columns as the largest that is there
                room[:, : by_code.shape[1]] = by_code
                room[np.bincount(its, minlength=count) == 0, : always.shape[1]] = always
            found.append(room)
        return np.concatenate(found, 1)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The mean of the heads, and the further metrics of each under its name, of the rows that have its label."""
        found = {self.metric: Metric(self.score, "fraction", True)}
        for part in self.heads:
            for name, metric in part.task.metrics.items():
                if name != part.task.metric:
                    found[f"{part.name}_{name}"] = _of_head(part, metric)
        return found

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """What each head's answers need, among its facts."""
        told = []
        for part, facts in zip(self.heads, self.facts["heads"], strict=True):
            there = part.there(labels)
            fitted = part.task.fit(part.logits(logits)[there], part.labels(labels)[there]) if there.any() else {}
            told.append({**facts, "facts": {**facts["facts"], **fitted}})
        return {"heads": told}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, L) float32, those of the heads behind each other; NaN throughout where a logit is not finite."""
        own = [part.task.answers(part.logits(logits)).reshape(len(logits), part.place.columns) for part in self.heads]
        found = np.concatenate([answers.astype(np.float32) for answers in own], 1)
        broken = ~np.isfinite(logits).all(1)
        found[broken] = unlabelled(found, int(broken.sum()))
        return found

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) mean over the heads of g R / n of those that the row has, and 0 of the others: g the head's own gain, n of these R rows have its
        label. So their mean over the rows is the mean over the heads of each one's own mean; heads that none of the rows has have no say. Where
        rows lack heads its interval is rather too wide, since what a row has varies too."""
        total, heads = np.zeros(len(labels)), 0
        for part in self.heads:
            there = part.there(labels)
            if there.any():
                gains = part.task.gains(part.labels(answers)[there], part.labels(labels)[there])
                total[there] += gains * (len(labels) / there.sum())
                heads += 1
        return total / max(heads, 1)

    def right(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether all heads that a row has a label of are right."""
        right, any_head = np.ones(len(labels), bool), np.zeros(len(labels), bool)
        for part in self.heads:
            there = part.there(labels)
            right[there] &= part.task.right(part.labels(answers)[there], part.labels(labels)[there])
            any_head |= there
        return right & any_head

    def decisions(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the heads behind each other."""
        found = [part.task.decisions(part.logits(logits)) for part in self.heads]
        margins, decided = zip(*found, strict=True)
        return np.concatenate(margins), np.concatenate([np.asarray(one, np.int64) for one in decided])

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """Those of each head, under its name."""
        found: dict[str, np.ndarray] = {}
        for part in self.heads:
            if (there := part.there(labels)).any():
                own = part.task.parts(part.labels(answers)[there], part.labels(labels)[there], part.names)
                found |= {f"{part.name}: {name}": gains for name, gains in own.items()}
        return found

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """`head: answer` of each head; "-" where a row has no label of it."""
        row = np.asarray(answer)[None]
        shown = {p.name: "-" if (row[:, p.place.labels] == ABSENT).any() else p.task.show(p.labels(row)[0], p.names) for p in self.heads}
        return "; ".join(f"{name}: {said}" for name, said in shown.items())

    def sentence(self, names: list[str]) -> str:
        """Each head's own."""
        return f"{len(self.heads)} heads: {'; '.join(f'{part.name}, {part.task.sentence(part.names)}' for part in self.heads)}"

    def _rooms(self) -> dict[str, Task]:
        """The task of each head that was asked for."""
        return {name: task(words["task"], options=words["task_options"]) for name, words in self.asked.items()}

    def _names(self, column: pa.ChunkedArray) -> dict[str, list[str]]:
        """What the answers of each head may be; DataError where the training split has no label of it."""
        rooms, fields = self._rooms(), _fields(column)
        found = {name: _told(name, partial(rooms[name].names, fields[name])) for name in self.asked}
        for name, own in found.items():
            if not own:
                raise DataError(
                    f"data.heads.{name}: no row of the training split has a label of this head; is column {self.asked[name]['column']!r} meant?"
                )
        return found


def _of_head(part: Part, metric: Metric) -> Metric:
    """A head's metric as one of all logits and labels."""

    def own(compute: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[np.ndarray, np.ndarray], Any]:
        def of_its_rows(logits: np.ndarray, labels: np.ndarray) -> Any:
            there = part.there(labels)
            return compute(part.logits(logits)[there], part.labels(labels)[there])

        return of_its_rows

    interval = own(metric.interval) if metric.interval else None
    return Metric(own(metric.compute), metric.unit, metric.higher_is_better, interval, part.there)


def _fields(column: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The fields of a struct column by name."""
    return dict(zip([field.name for field in column.type], column.flatten(), strict=True))


def _told(name: str, find: Callable[[], Any]) -> Any:
    """What `find` gives; a DataError of it names the head."""
    try:
        return find()
    except DataError as error:
        raise DataError(f"data.heads.{name}: {str(error).removeprefix('data: ')}") from error
