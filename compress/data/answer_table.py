"""A table of what a teacher answered, row by row, as logits of the data's rows: a model behind somebody's API, or people.

In: a CSV, JSON Lines or Parquet file with a row's id and, by `form`, a number for each label or an answer in words. Out: (R, K) logits of each
split, and an account of the rows that have none.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.data.manifest import existing_table, read_table
from compress.data.prepared import PreparedData
from compress.errors import DataError
from compress.tasks.labels import FLOOR, known

LACKING, TWICE = "no answer in the table", "answered twice"
SPLITS = ("train", "validation", "test")
LARGEST = 6e4  # answers are stored in float16
EXAMPLES = 3  # ids that a message shows for each reason


@dataclass(frozen=True)
class AnswerTable:
    """What the table says of each row of the data."""

    logits: dict[str, np.ndarray]  # split -> (R, K) float32, NaN throughout where a row has no usable answer
    reasons: dict[str, dict[str, list[str]]]  # split -> why rows have none -> their ids
    unused: int = 0  # ids of the table that no row has
    unnamed: tuple[str, ...] = ()  # labels that the table has no name for

    def to_json(self) -> dict[str, Any]:
        """Rows of each split, those answered, and how many are not and why; as plain data."""
        rows = {
            split: {
                "rows": len(logits),
                "answered": int(np.isfinite(logits).all(1).sum()),
                "reasons": {reason: len(ids) for reason, ids in self.reasons[split].items()},
            }
            for split, logits in self.logits.items()
        }
        return {"splits": rows, "unused": self.unused, "unnamed": list(self.unnamed)}


@dataclass
class _Said:
    """One line for each id of the table."""

    ids: list[str]
    logits: np.ndarray  # (N, K)
    faults: dict[str, np.ndarray] = field(default_factory=dict)  # reason -> (N,) bool
    unnamed: tuple[str, ...] = ()


def read_answer_table(
    path: Path, data: PreparedData, *, form: str, columns: Mapping[str, str], labels: Mapping[str, str], strict: bool
) -> AnswerTable:
    """The table's answers to the rows of `data`. `columns` and `labels`: the table's own names, where they are not the standard ones.

    strict: every training row needs a usable answer, every line must be usable and every label must have a name there; otherwise what is not
    so is counted. Raises: DataError for what cannot be read, for ids of the data that are not unique, and where no training row has an answer.
    """
    place = f"teacher.path ({path})"
    names = {"id": columns.get("id", "id"), **({"answer": columns.get("answer", "answer")} if form == "answers" else {})}
    table = read_table(existing_table("teacher.path", path), _strings(path, names), place=place)
    for name in names:
        _column(table, names[name], f"{place}: teacher.columns.{name}")
    ids = table.column(names["id"]).cast(pa.string()).to_pylist()
    said = (
        _votes(ids, table, names["answer"], data, labels, place) if form == "answers" else _numbers(ids, table, data, form, labels, place)
    )
    found = _joined(said, data)
    if strict:
        _refuse(found, said, place)
    if not np.isfinite(found.logits["train"]).all(1).any():
        raise DataError(f"{place}: no training row has a usable answer there; {_account(found.reasons['train'])}\n{_first_ids(said, data)}")
    return found


def describe_answers(report: Mapping[str, Any]) -> str:
    """The account of `to_json` in one sentence."""
    parts = []
    for split, entry in report["splits"].items():
        why = ", ".join(f"{count:,} {reason}" for reason, count in entry["reasons"].items())
        parts.append(f"{entry['answered']:,} of {entry['rows']:,} {split} rows{f' ({why})' if why else ''}")
    unused = f"; {report['unused']:,} of its ids are no row's" if report["unused"] else ""
    unnamed = f"; it has no name for {', '.join(report['unnamed'])}" if report["unnamed"] else ""
    return f"the table answers {', '.join(parts)}{unused}{unnamed}"


def _strings(path: Path, names: dict[str, str]) -> dict[str, str]:
    return names if path.suffix == ".csv" else {}  # of Parquet, to name some columns is to read them alone


def _column(table: pa.Table, name: str, place: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        near = difflib.get_close_matches(name, table.column_names, n=1)
        raise DataError(
            f"{place}: no column {name!r}{f' (did you mean {near[0]!r}?)' if near else ''}; there are {', '.join(table.column_names)}"
        )
    return table.column(name)


def _numbers(ids: list[str | None], table: pa.Table, data: PreparedData, form: str, labels: Mapping[str, str], place: str) -> _Said:
    """A column of numbers for each label that the table names."""
    named = {label: labels.get(label, label) for label in data.labels}
    for label, name in labels.items():
        if label in named:
            _column(table, name, f"{place}: teacher.labels.{label}")
    there = [label for label in data.labels if named[label] in table.column_names]
    if len(there) < min(2, len(data.labels)):
        raise DataError(
            f"{place}: has a column for {len(there)} of the {len(data.labels)} labels, such as {data.labels[:3]}; teacher.labels says which column "
            f"stands for which; there are {', '.join(table.column_names)}"
        )
    values = np.zeros((len(ids), len(data.labels)))
    for place_of, label in enumerate(data.labels):
        if label in there:
            values[:, place_of] = _floats(table.column(named[label]))
    unknown = ~np.all(np.abs(values) < LARGEST, axis=1)  # no NaN passes either
    values[unknown] = 0.0
    faults = {"not a number": unknown}
    if form == "probabilities":
        logits, wanted, right = data.task.from_probabilities(values)
        faults[f"no {wanted}"] = ~right & ~unknown
    else:
        logits = values.astype(np.float32)
        sure = logits.max(1) if data.task.one_of_many else np.zeros(len(logits), np.float32)
        for place_of, label in enumerate(data.labels):
            if label not in there:  # as improbable as an answer can be
                logits[:, place_of] = sure + np.float32(np.log(FLOOR))
    _, first, counts = np.unique([str(i) for i in ids], return_index=True, return_counts=True)
    keep = np.sort(first)
    twice = np.isin([str(i) for i in ids], [str(ids[i]) for i in first[counts > 1]])
    faults[TWICE] = twice
    return _Said(
        [str(ids[i]) for i in keep],
        logits[keep],
        {reason: mask[keep] for reason, mask in faults.items()},
        tuple(label for label in data.labels if label not in there),
    )


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) float64, NaN where a cell is no number."""

    def number(value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            return float("nan")

    return np.array([number(value) for value in column.to_pylist()], np.float64)


def _votes(ids: list[str | None], table: pa.Table, column: str, data: PreparedData, labels: Mapping[str, str], place: str) -> _Said:
    """An answer in the form of the data's labels; several lines of one id are votes."""
    words = {name: label for label, name in labels.items()}
    cells = data.task.cells(_named(table.column(column), words), f"{place}: column {column!r}")
    answers, blank = data.task.encode(cells, data.labels)
    usable = known(answers)
    keys, codes = np.unique([str(i) for i in ids], return_inverse=True)
    count = len(keys)
    logits = data.task.vote(answers[usable], codes[usable], (count, data.outputs)).astype(np.float32)
    silent = np.bincount(codes[usable], minlength=count) == 0
    strange = np.bincount(codes[~usable & ~blank], minlength=count) > 0
    faults = {"an answer that is no label": strange, "a blank answer": silent & ~strange}
    return _Said(keys.tolist(), logits, faults)


def _named(column: pa.ChunkedArray, words: Mapping[str, str]) -> pa.ChunkedArray:
    """The column with each cell, or each of a list, that is one of `words` in the data's own word."""
    if not words:
        return column
    renamed = [[words.get(w, w) for w in cell] if isinstance(cell, list) else words.get(str(cell), cell) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(renamed)])


def _joined(said: _Said, data: PreparedData) -> AnswerTable:
    """The lines brought to the rows, by id."""
    _unique(data)
    place_of = {name: place for place, name in enumerate(said.ids)}
    logits, reasons, used = {}, {}, set()
    for split in SPLITS:
        ids = data.ids(split)
        labels = np.asarray(data.split(split).labels)
        places = np.array([place_of.get(name, -1) for name in ids])
        used |= {name for name in ids if name in place_of}
        why = {LACKING: places < 0}
        why |= {reason: (places >= 0) & mask[places] for reason, mask in said.faults.items()}
        if said.unnamed:
            why["a label that the table has no name for"] = (places >= 0) & _of(labels, [data.labels.index(n) for n in said.unnamed])
        found = said.logits[places].copy()
        found[np.logical_or.reduce(list(why.values()))] = np.nan
        logits[split] = found
        reasons[split] = {reason: [ids[row] for row in np.flatnonzero(mask)] for reason, mask in why.items() if mask.any()}
    return AnswerTable(logits, reasons, len(place_of) - len(used), said.unnamed)


def _of(labels: np.ndarray, places: list[int]) -> np.ndarray:
    """(R,) bool: the rows that have one of the labels at `places`; labels (R,) places or (R, K) tags."""
    return np.isin(labels, places) if labels.ndim == 1 else np.any(labels[:, places] > 0, axis=1)


def _unique(data: PreparedData) -> None:
    """Raises DataError for an id that several rows have, in one split or in two."""
    seen, counts = np.unique(np.concatenate([data.ids(split) for split in SPLITS]), return_counts=True)
    if (counts > 1).any():
        twice = seen[counts > 1]
        raise DataError(
            f"teacher.path: answers are found by a row's id, but {len(twice):,} ids are those of several rows of the data, such as "
            f"{', '.join(map(repr, twice[:EXAMPLES].tolist()))}; data.options.columns.id names a column in which each row of all files has its own"
        )


def _refuse(found: AnswerTable, said: _Said, place: str) -> None:
    """Raises one DataError for all that is not as it should be; rows of validation and test may go without an answer."""
    lines = [f"{reason}: {_some(ids)}" for reason, ids in found.reasons["train"].items()]
    bad = {reason: [name for name, is_so in zip(said.ids, mask, strict=True) if is_so] for reason, mask in said.faults.items()}
    lines += [f"{reason}: {_some(ids)}" for reason, ids in bad.items() if ids and reason not in found.reasons["train"]]
    if said.unnamed:
        lines.append(f"no column for the labels {', '.join(said.unnamed)}; teacher.labels says which column stands for which")
    if lines:
        way_out = "Mend the table, or set teacher.on_bad_answer: labels to train such rows on their labels alone."
        raise DataError("\n".join([f"{place}: not every training row has a usable answer", *(f"  {line}" for line in lines), way_out]))


def _some(ids: list[str]) -> str:
    return f"{len(ids):,} {'row' if len(ids) == 1 else 'rows'}, such as {', '.join(map(repr, ids[:EXAMPLES]))}"


def _account(reasons: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{reason}: {_some(ids)}" for reason, ids in reasons.items())


def _first_ids(said: _Said, data: PreparedData) -> str:
    return f"  ids of the table are such as {said.ids[:EXAMPLES]}, those of the training rows such as {data.ids('train')[:EXAMPLES]}"
