"""Brings the columns of a user's table to the form that `Source` promises: one a modality, and label, mask, kind, group, id, and those of slices.

In: an Arrow table and which of its columns are meant. Out: a table with the standard names and types, or a DataError naming the column.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from compress.errors import DataError
from compress.modalities.cells import file_column, text_column
from compress.modalities.modality import modality
from compress.tables import MODALITIES

ANSWER = "answer "  # opens the name of a column that a head is taught from, until `join_answers` makes one column of all
MASK = "mask"  # a label that is a file, such as a class for each pixel of a picture
OTHERS = ("label", MASK, "kind", "group", "id")  # what a row has beside its inputs
SLICE = "slice "  # opens the name of a column whose values accuracy is told for: what a table's own column cannot be taken for


def standard_names(
    columns: Mapping[str, str] | None, slices: Sequence[str] | None = None, heads: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The table's own name of each standard column: the standard one but where `columns` says another; of each column of `slices`; and in
    place of the label's those of `heads`, head -> column.

    Raises DataError for an unknown one, and for a slice that is named twice."""
    if doubled := next((name for name in slices or () if list(slices or ()).count(name) > 1), None):
        raise DataError(f"data.options.slices: {doubled!r} is there twice; name each column once")
    standard = [*MODALITIES, *OTHERS]
    for name in columns or {}:
        if name not in standard:
            near = difflib.get_close_matches(name, standard, n=1)
            raise DataError(f"data.options.columns.{name}: unknown column{_did_you_mean(near)}; there are {', '.join(standard)}")
    names = {name: (columns or {}).get(name, name) for name in standard if not (heads and name == "label")}
    answers = {f"{ANSWER}{name}": column for name, column in (heads or {}).items()}
    return names | answers | {f"{SLICE}{name}": name for name in slices or ()}


def standard_table(table: pa.Table, names: Mapping[str, str], *, folder: Path, place: str) -> pa.Table:
    """A table of the standard columns that are there. `names` maps standard names to the table's own.

    Relative paths start at `folder`. `place` opens every message, such as "data.options.train (rows.csv)".
    """
    columns = {}
    for standard, own in names.items():
        if own not in table.column_names:
            if own != standard:
                near, there = difflib.get_close_matches(own, table.column_names, n=1), f"; there are {', '.join(table.column_names)}"
                wanted = f" for data.heads.{standard.removeprefix(ANSWER)}" if standard.startswith(ANSWER) else ""
                raise DataError(f"{place}: no column {own!r}{wanted}{_did_you_mean(near) or there}")
            continue
        if table.column_names.count(own) > 1:
            raise DataError(f"{place}: column {own!r} is there {table.column_names.count(own)} times; leave one")
        where, column = f"{place}: column {own!r}", table.column(own)
        if standard.startswith(ANSWER):
            columns[standard] = label_column(column, where)
        elif standard == MASK:
            columns[standard] = file_column(column, folder, where)
        elif standard in _READ or standard.startswith(SLICE):
            columns[standard] = _READ.get(standard, name_column)(column, where)
        else:
            columns[standard] = modality(standard).column(column, folder, where)
    return pa.table(columns)


def join_answers(table: pa.Table) -> pa.Table:
    """The table with its columns of heads as one column of structs, label, with a field for each head; as it is where there are none."""
    names = [name for name in table.column_names if name.startswith(ANSWER)]
    if not names:
        return table
    answers = pa.table({name.removeprefix(ANSWER): table.column(name) for name in names})
    return table.drop_columns(names).append_column("label", answers.to_struct_array())


def name_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Names of classes, groups or parts as strings: integers and booleans are written out, a dictionary of strings stays one and keeps its order."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    try:
        return text_column(column, place)
    except DataError as error:
        raise DataError(f"{error}; a label, a group or a slice is a name or a whole number") from None


def as_one(columns: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Columns of names, behind each other as strings."""
    return pa.chunked_array([chunk for column in columns for chunk in column.cast(pa.string()).chunks], pa.string())


def id_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """What rows are known by, written out as text, numbers too."""
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{place} is {column.type}, but an id is a text or a number") from error


def label_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Names as `name_column` gives them; lists and numbers as they are, for tasks whose answers they are."""
    kind = column.type
    names = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind)
    return name_column(column, place) if names or pa.types.is_integer(kind) or pa.types.is_dictionary(kind) else column


_READ = {"label": label_column, "kind": text_column, "group": name_column, "id": id_column}


def _did_you_mean(near: list[str]) -> str:
    return f" (did you mean {near[0]!r}?)" if near else ""
