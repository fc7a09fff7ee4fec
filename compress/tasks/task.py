"""`Task`: all that the program must know of one kind of answer; a room is a subclass that says what differs.

What a device needs is a second file, in compress/device/tasks (for a plugin: the file that `device` names), which imports numpy alone.
How good a row's answer is is one number (`gains`); its mean over the rows is what decides everywhere, so two models can be compared in pairs.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import compress.device
from compress.device.tasks import Explained, answerer
from compress.errors import CompressError
from compress.io_spec import Port
from compress.tables import TASKS, resolve
from compress.tasks.labels import known

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric
    from compress.tasks.several import Part


AGREEMENT = "agreement with the teacher"  # what is measured where its answers are the labels
CLOSE = 0.9  # a gain from which on an answer that is more or less good is shown as right


class Task:
    """One kind of answer. Literals are read from source by `check`, which runs nothing; keyword-only parameters are data.task_options."""

    column: ClassVar[str] = "label"  # of a source's table
    losses: ClassVar[tuple[str, ...]] = ()  # names in LOSSES that fit, the one on labels alone first; those of a plugin always may be tried
    hidden: ClassVar[bool] = False  # whether losses that compare hidden states fit too
    objective: ClassVar[tuple[dict[str, Any], ...]] = ()  # distill.losses where the recipe has none
    rivals: ClassVar[dict[str, dict[str, Any]]] = {}  # teacher terms that compete under distill.objective: auto
    metric: str = ""  # the name in `metrics` that decides
    measure: str = ""  # what the mean of `gains` is called
    agreement: ClassVar[str] = (
        ""  # what the mean gain is called where the teacher's answers are the labels; the measure, if nothing is said
    )
    constant: ClassVar[str] = "the commonest answer"  # what is answered without looking
    unknown: ClassVar[str] = "unknown answer"  # the reason that rows with an answer that is none are counted under
    misfit: ClassVar[str] = "an answer of another form than the inputs"  # the reason that rows of `misfits` are counted under
    reads: ClassVar[
        dict[str, dict[str, Any]]
    ] = {}  # the only inputs of such a recipe, each with the words that it needs; any, where none is here
    hint: ClassVar[str] = ""  # a way out where rows have no answer
    one_of_many: ClassVar[bool] = (
        False  # logits (R, K) of K labels, the largest answers: then precision, confusions and calibration mean something
    )
    balances: ClassVar[bool] = True  # whether answers can be rare, so that data.imbalance means something
    open_set: ClassVar[bool] = False  # validation and test may have answers that train has not: what an answer may be is told by all splits
    joint: ClassVar[bool] = False  # the student's answers are used beside the teacher's, so that one who never heard it cannot ship
    named: ClassVar[bool] = False  # data.names may say what an answer may be though an answer is not one of K labels
    dense: ClassVar[bool] = False  # an answer for each place of a picture, labels (R, S, S): views that move the picture move them
    towers: ClassVar[bool] = (
        False  # each input has a vector of its own; which there are is fact `towers`, and without a column rows that share one are alike
    )
    foreign: ClassVar[tuple[str, ...]] = (
        "folder",
        "hub",
        "weights",
        "zero_shot",
        "run",
        "llm",
        "vlm",
    )  # sources of models from elsewhere, as they are, that may be the teacher
    as_head: ClassVar[str] = ""  # the kind of its labels (`Head.kind`) where it may be one of several heads; empty: it may be none
    of_heads: ClassVar[bool] = False  # whether it is made of the heads in data.heads
    forms: ClassVar[tuple[str, ...]] = ()  # of what a table or a file may hold of a teacher's answers: answers, probabilities, logits
    device: ClassVar[str] = ""  # of a plugin: its file for the device, beside the plugin

    def __init__(self, name: str) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}  # what was learnt from the training split, and of one model from validation; it ships

    def with_facts(self, facts: Mapping[str, Any]) -> Task:
        """The same task, knowing these too."""
        told = copy.copy(self)
        told.facts = {**self.facts, **facts}
        if told.facts.get("judge") == "teacher":
            told.measure = type(self).agreement or AGREEMENT
        return told

    @property
    def heads(self) -> tuple[Part, ...]:
        """The heads that it is made of; none where a row has one answer."""
        return ()

    @property
    def on_labels(self) -> list[dict[str, Any]]:
        """The terms of `distill.losses` that learn from labels alone."""
        return [{"name": self.losses[0]}]

    @property
    def reader(self) -> Path:
        """The file that makes answers on a device."""
        if self.device:
            return Path(inspect.getfile(type(self))).with_name(self.device)
        return Path(compress.device.__file__).parent / "tasks" / f"{self.name}.py"

    @property
    def runner(self) -> ModuleType:
        """That file's module."""
        return _load(self.reader) if self.device else answerer(self.name)

    def reading(self, inputs: Any, teacher: Any) -> dict[str, Any]:
        """What must be known of the form in which inputs are read, as plain data for `facts`: data.inputs, and teacher.inputs or None.

        Raises: RecipeError where teacher and student could not be compared.
        """
        return {}

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """A source's column in the form that the methods below take; raises DataError for one of another task, opened by `place`."""
        raise NotImplementedError

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """What an answer may be, from the training split's column (those of all splits where the set is open), in the order of the model's outputs; DataError where that is no task."""
        raise NotImplementedError

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """What else is known from the training split's column, as plain data."""
        return {}

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """Raises DataError where too little is left to tell apart in a split's labels (R, ...), once unusable rows are out of the way."""

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The answers (R, ...) as numbers (see compress/tasks/labels.py), without one where it is unknown; and (R,) bool where there is none."""
        raise NotImplementedError

    def fault(self, cell: Any, names: list[str]) -> str:
        """What is wrong with a cell that `encode` knows no answer for."""
        raise NotImplementedError

    def misfits(self, table: pa.Table) -> tuple[np.ndarray, Callable[[int], str]]:
        """(R,) bool: rows of a source's table whose answer does not fit their inputs, and what is wrong with one."""
        return np.zeros(table.num_rows, bool), str

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """(R,) int32 classes that splits spread evenly, -1 where a row has no answer; labels (R, ...) of one split."""
        raise NotImplementedError

    def shift(self, labels: np.ndarray, names: list[str]) -> np.ndarray:
        """(K,) the logarithm of each answer's odds among known labels (R, ...), for data.imbalance: logits."""
        raise NotImplementedError

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """What the labelled rows of a split hold, as it stands in report.json: `label_counts`, and what else the task counts."""
        raise NotImplementedError

    def port(self, names: list[str]) -> Port:
        """What a model gives out."""
        raise NotImplementedError

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """(count, K) logits of the best answer to the rows of each code: labels (R, ...), all known, and codes (R,) in [0, count)."""
        raise NotImplementedError

    def vote(self, labels: np.ndarray, codes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Logits of `shape` (R, K) of a teacher who gave the answers `labels` (A, ...), all known, to the rows `codes` (A,) in [0, R)."""
        raise NotImplementedError

    def from_probabilities(self, p: np.ndarray) -> tuple[np.ndarray, str, np.ndarray]:
        """(R, K) logits of probabilities (R, K), what they must be in words, and (R,) bool: the rows where they are that."""
        raise NotImplementedError

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What is measured."""
        raise NotImplementedError

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """What a model's answers need and its validation rows say, as plain data for `facts`: logits (R, K), labels (R, ...)."""
        return {}

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, ...) answers to logits (R, K), in the form of labels; none, which no label equals, where a logit is not finite."""
        raise NotImplementedError

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) how good each answer is among all of these: bool where it is right or wrong, else a number; their mean is at most 1."""
        raise NotImplementedError

    def together(self, answers: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """What a model's answers (R, ...) are worth beside the teacher's, as further metrics (fractions); nothing where they do not meet."""
        return {}

    def right(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) bool: which answers the report shows as right."""
        return self.gains(answers, labels) >= CLOSE

    def same(self, answers: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(R,) bool: which answers the report takes for the same as another model's, both (R, ...)."""
        return self.right(answers, others)

    def sure(self, logits: np.ndarray) -> np.ndarray | None:
        """(R,) float32: the probability of the answer to each row of logits (R, K), NaN where one is not finite; None where answers have none."""
        if not hasattr(self.runner, "probability"):
            return None
        with np.errstate(invalid="ignore"):
            p: np.ndarray = self.runner.probability({"logits": logits}, {"logits": logits}, facts=self.facts)
        return p.astype(np.float32)

    def explained(self, logits: Any, answered: Any, names: list[str], *, xp: Any = np) -> list[Explained]:
        """The numbers of answers that inputs contribute to, such as the probability of a label: what `logits` (R, K) give to the answers of
        `answered` (R, K), numpy's arrays or torch's (`xp`). None where one input answers alone, or each has an answer of its own."""
        make = getattr(self.runner, "explained", None)
        return make(logits, answered, names, facts=self.facts, xp=xp) if make else []

    def marks(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(n,) float64 gains of the labelled rows; raises CompressError where there is none."""
        there = known(labels)
        if not there.any():
            raise CompressError(f"no labelled row among {len(labels)} to score; a validation split needs labels")
        return self.gains(self.answers(logits[there]), np.asarray(labels)[there]).astype(np.float64)

    def score(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Mean gain of the labelled rows, the higher the better."""
        return float(self.marks(logits, labels).mean())

    def decisions(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) by how much a logit may move before each decision tips, and (M,) the decisions; logits (R, K)."""
        margins, decided = self.runner.decisions(logits, self.facts)
        return margins, decided

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """Gains by part of the answers, such as label by label: name -> (n,); parts without rows are left out."""
        raise NotImplementedError

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """One answer or label, a row of (R, ...), as the report shows it."""
        raise NotImplementedError

    def draw(self, answer: np.ndarray, names: list[str]) -> str:
        """The same as HTML, safe to put in; "" where words say it all."""
        return ""

    def sentence(self, names: list[str]) -> str:
        """What the task is, for the model card."""
        raise NotImplementedError


def task(name: str, *, options: Mapping[str, Any] | None = None, facts: Mapping[str, Any] | None = None) -> Task:
    """The room of a task, with its options and what is known of the data."""
    found: Task = resolve(TASKS[name])(name, **(options or {}))
    return found.with_facts(facts or {})


@cache
def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"compress_device_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CompressError(f"{path}: cannot be loaded as Python; the task's `device` names the file that answers on a device")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
