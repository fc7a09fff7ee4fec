"""Rows as numbers: each row points to its distinct inputs, its label, kind and group; and the account of the rows that are unusable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.columns import SLICE
from compress.data.presence import patterns, stand_in
from compress.errors import DataError
from compress.io_spec import PRESENT
from compress.modalities.modality import modality as room
from compress.recipe.sections import Data
from compress.tasks.labels import known
from compress.tasks.task import Task

EXAMPLES = 5  # rows that an error or a report shows for each reason
MOST_VALUES = 50  # of a column that accuracy is told by: each is a line of the report


@dataclass(frozen=True)
class Distinct:
    """The N distinct inputs of one modality in one split: `keys` (N,) are the texts or paths themselves, or digests of file contents."""

    keys: pa.Array
    content: pa.ChunkedArray | None = None  # where keys are digests: the source's column of file contents
    first: np.ndarray | None = None  # (N,) int64 row of that column that holds each

    def __len__(self) -> int:
        return len(self.keys)

    def value(self, index: int) -> str | bytes:
        """One text, path or file content."""
        if self.content is None or self.first is None:
            return self.keys[index].as_py()
        return self.content[int(self.first[index])].as_py()

    def take(self, chosen: np.ndarray) -> Distinct:
        """The inputs of those indices, in that order."""
        return Distinct(self.keys.take(pa.array(chosen)), self.content, None if self.first is None else self.first[chosen])

    def shown(self, index: int) -> str:
        """The input as a message shows it."""
        value = self.value(index)
        return f"<{len(value):,} bytes>" if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Rows:
    """R rows of one split. All arrays are (R,) but for labels; rows of a cut or limited split keep their place in the source in `number`."""

    split: str  # the source's split, for messages
    number: np.ndarray  # int64, 1 is the source's first row
    codes: dict[str, np.ndarray]  # modality: int32 index in `inputs`, -1 where the cell is blank
    inputs: dict[str, Distinct]
    labels: np.ndarray  # (R, ...) as the task has them: see compress/tasks/labels.py
    strata: np.ndarray  # int32 classes that splits spread evenly, -1 is unlabelled; the labels themselves where a row has one of K
    kinds: np.ndarray  # int16, -1 is none
    groups: np.ndarray  # int32, the same number for a group in every split, -1 is none
    ids: np.ndarray  # strings that a row is known by elsewhere: of the source's column id, "train:17" where it has none
    slices: dict[str, np.ndarray] = field(default_factory=dict)  # column: int16 place in its values, -1 where the cell is blank

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def owner(self) -> str:
        """The modality whose inputs own the rows, the first: all rows of such an input go where it goes."""
        return next(iter(self.codes))

    def keep(self, mask: np.ndarray) -> Rows:
        """The rows where `mask` (R,) is true, with only the inputs that they use, in the order of first use in the source."""
        codes, inputs = {}, {}
        for modality, code in self.codes.items():
            used, dense = np.unique(code[mask], return_inverse=True)
            codes[modality], inputs[modality] = dense.astype(np.int32), self.inputs[modality].take(used)
        own = {name: getattr(self, name)[mask] for name in ("number", "labels", "strata", "kinds", "groups", "ids")}
        slices = {name: values[mask] for name, values in self.slices.items()}
        return replace(self, codes=codes, inputs=inputs, slices=slices, **own)


@dataclass
class BadRows:
    """Every unusable row, by reason."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict]] = field(default_factory=dict)
    rows: set[tuple[str, int]] = field(default_factory=set)
    hint: str = ""  # the task's own way out for rows without a label

    def add(self, reason: str, rows: Rows, mask: np.ndarray, shown: Callable[[int], str] = lambda _: "blank cell") -> None:
        """Counts the rows where `mask` (R,) is true; `shown(i)` is what a message says about row i."""
        bad = np.flatnonzero(mask)
        if not len(bad):
            return
        self.counts[reason] = self.counts.get(reason, 0) + len(bad)
        self.rows.update((rows.split, int(number)) for number in rows.number[bad])
        examples = self.examples.setdefault(reason, [])
        for index in bad[: EXAMPLES - len(examples)]:
            number, known = int(rows.number[index]), str(rows.ids[index])
            name = "" if known in ("", f"{rows.split}:{number}") else f"{known}: "
            examples.append({"split": rows.split, "row": number, "value": f"{name}{shown(int(index))}"})

    def refuse(self) -> None:
        """Raises one DataError over all of them, if there are any."""
        if not self.counts:
            return
        lines = [f"data: {len(self.rows):,} unusable rows (rows are counted from 1)"]
        for reason, count in self.counts.items():
            lines.append(f"  {reason}: {count:,} {'row' if count == 1 else 'rows'}")
            lines += [f"    {row['split']} row {row['row']}: {row['value']}" for row in self.examples[reason]]
        ways = ["Mend them, or set data.on_bad_row: skip to leave them out."]
        if "no label" in self.counts:
            ways += ["data.allow_unlabelled: true takes training rows without a label as unlabelled.", *filter(None, [self.hint])]
        raise DataError("\n".join([*lines, *ways]))

    def to_json(self) -> dict:
        """Counts and examples, as they stand in report.json."""
        reasons = {reason: {"count": count, "examples": self.examples[reason]} for reason, count in self.counts.items()}
        return {"rows": len(self.rows), "reasons": reasons}


def encode(
    split: str,
    table: pa.Table,
    config: Data,
    *,
    modalities: tuple[str, ...],
    task: Task,
    labels: list[str],
    kinds: list[str],
    groups: list[str],
    bad: BadRows,
    slices: Mapping[str, list[str]] = MappingProxyType({}),
) -> Rows:
    """The usable rows of a table; rows with a blank input, no label or an unknown one go to `bad`. No file is opened. slices: the values of
    each column that accuracy is told by."""
    encoded = {modality: distinct(table.column(modality)) for modality in modalities}
    answers, unlabelled = task.encode(table.column(task.column), labels)
    rows = Rows(
        split=split,
        number=np.arange(1, table.num_rows + 1),
        codes={modality: codes for modality, (codes, _) in encoded.items()},
        inputs={modality: inputs for modality, (_, inputs) in encoded.items()},
        labels=answers,
        strata=task.strata(answers),
        kinds=_index(table, "kind", kinds).astype(np.int16),
        groups=_index(table, "group", groups).astype(np.int32),
        ids=_ids(split, table),
        slices={name: _index(table, f"{SLICE}{name}", values).astype(np.int16) for name, values in slices.items()},
    )
    blank = np.stack([code < 0 for code in rows.codes.values()], axis=1)  # (R, M)
    unusable = np.asarray(blank.all(axis=1) if config.allow_missing else blank.any(axis=1))
    if config.allow_missing:
        bad.add("no input at all", rows, unusable)
    else:
        for place, modality in enumerate(rows.codes):
            bad.add(room(modality).blank, rows, blank[:, place])
    if not may_lack_labels(config, split):
        bad.add("no label", rows, unlabelled)
        unusable |= unlabelled
    unknown = ~known(rows.labels) & ~unlabelled
    bad.add(task.unknown, rows, unknown, lambda index: task.fault(table.column(task.column)[index].as_py(), labels))
    misfit, why = task.misfits(table)
    bad.add(task.misfit, rows, misfit, why)
    kept = ~(unusable | unknown | misfit)
    return (_mark_missing(rows, blank, kept) if config.allow_missing else rows).keep(kept)


def may_lack_labels(config: Data, split: str) -> bool:
    """Whether rows of a split may have no label."""
    return config.judge == "teacher" or (config.allow_unlabelled and split == "train")


def _mark_missing(rows: Rows, blank: np.ndarray, kept: np.ndarray) -> Rows:
    """The rows with what they lack noted in PRESENT, and an input of a `kept` (R,) row to point at in its place."""
    usable = {m: np.unique(code[kept & (code >= 0)]) for m, code in rows.codes.items()}
    for m, own in usable.items():
        if kept.any() and not len(own):
            raise DataError(f"data: no usable row of {rows.split} has an input of the modality {m}; take it off data.inputs")
    codes = {m: stand_in(code, rows.number, usable[m]) for m, code in rows.codes.items()}
    present, distinct = patterns(blank)
    return replace(rows, codes={**codes, PRESENT: present}, inputs={**rows.inputs, PRESENT: Distinct(distinct)})


def _ids(split: str, table: pa.Table) -> np.ndarray:
    """(R,) the column id as text, or where there is none the split of the source and the row's number in it, from 1."""
    if "id" not in table.column_names:
        return np.array([f"{split}:{number}" for number in range(1, table.num_rows + 1)])
    return np.array(pc.fill_null(table.column("id").cast(pa.string()), "").to_pylist(), dtype=str)


def names_of(column: str, tables: dict[str, pa.Table]) -> list[str]:
    """The kinds or groups of all splits, sorted, blank ones left out; none where the source has no such column."""
    columns = [table.column(column).cast(pa.string()) for table in tables.values() if column in table.column_names]
    return sorted({name for column in columns for name in column.unique().drop_null().to_pylist() if name.strip()})


def slices_of(tables: dict[str, pa.Table]) -> dict[str, list[str]]:
    """The values of each column that accuracy is told by, over all splits. Raises DataError where there are too many."""
    columns = dict.fromkeys(name for table in tables.values() for name in table.column_names if name.startswith(SLICE))
    found = {column.removeprefix(SLICE): names_of(column, tables) for column in columns}
    for name, values in found.items():
        if len(values) > MOST_VALUES:
            raise DataError(
                f"data.options.slices: column {name!r} has {len(values):,} values, at most {MOST_VALUES} can be told apart; "
                "name a column of fewer, or take it for data.options.columns.group"
            )
    return found


def distinct(column: pa.ChunkedArray) -> tuple[np.ndarray, Distinct]:
    """Codes (R,) int32 into the distinct values, -1 where blank. File contents are told apart by a 128-bit digest."""
    binary = not pa.types.is_string(column.type)
    keys = _digests(column) if binary else pc.if_else(pa.chunked_array([pa.array(_blank(column))]), None, column)
    coded = keys.dictionary_encode().unify_dictionaries().combine_chunks()
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    if not binary:
        return codes, Distinct(coded.dictionary)
    used, first = np.unique(codes, return_index=True)
    return codes, Distinct(coded.dictionary, column, first[used >= 0])


def _digests(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = (value.as_py() for chunk in column.chunks for value in chunk)
    digests = [hashlib.blake2b(value, digest_size=16).digest() if value else None for value in values]
    return pa.chunked_array([pa.array(digests, pa.binary(16))])


def _blank(column: pa.ChunkedArray) -> np.ndarray:
    """(R,) bool: null, empty or white space alone."""
    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(column, "")), "").to_numpy(zero_copy_only=False).astype(bool)


def _index(table: pa.Table, column: str, names: list[str]) -> np.ndarray:
    """(R,) place of each value of a column in `names`, -1 where it is not there."""
    if column not in table.column_names:
        return np.full(table.num_rows, -1)
    return pc.fill_null(pc.index_in(table.column(column).cast(pa.string()), pa.array(names, pa.string())), -1).to_numpy()
