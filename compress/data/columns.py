"""Brings the columns of a user's table to the form that `Source` promises: image, text, label, kind.

In: an Arrow table and which of its columns are meant. Out: a table with the standard names and types, or a DataError naming the column.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from compress.errors import DataError

STANDARD = ("image", "text", "label", "kind")


def standard_table(table: pa.Table, names: dict[str, str | None], *, folder: Path, place: str) -> pa.Table:
    """A table of the standard columns. `names` maps standard names to the table's own; None takes the standard name if it is there.

    Relative image paths start at `folder`. `place` opens every message, such as "data.options.train (rows.csv)".
    """
    columns = {}
    for standard in STANDARD:
        own = names[standard] or standard
        if own not in table.column_names:
            if names[standard] is not None:
                raise DataError(f"{place}: no column {own!r}{_nearest(own, table)}")
            continue
        if table.column_names.count(own) > 1:
            raise DataError(f"{place}: column {own!r} is there {table.column_names.count(own)} times; leave one")
        where = f"{place}: column {own!r}"
        column = table.column(own)
        columns[standard] = image_column(column, folder, where) if standard == "image" else _READ[standard](column, where)
    return pa.table(columns)


def image_column(column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
    """Paths that do not depend on the working directory (string), or file contents (binary).

    A struct is what Hugging Face `datasets` writes: {bytes, path}. Its bytes count where there are any, its paths otherwise.
    """
    if pa.types.is_struct(column.type):
        fields = {field.name for field in column.type}
        content = pc.struct_field(column, "bytes") if "bytes" in fields else None
        if content is not None and content.null_count < len(content):
            return content
        if "path" not in fields:
            raise DataError(f"{place} is {column.type}; a struct of images has the fields bytes and path")
        column = pc.struct_field(column, "path")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column
    paths = text_column(column, place)
    # A blank cell has to stay blank: joined to the folder it would become a directory that exists.
    relative = pc.and_(pc.invert(pc.starts_with(paths, "/")), pc.not_equal(paths, ""))
    return pc.if_else(relative, pc.binary_join_element_wise(os.path.abspath(folder), paths, "/"), paths)


def text_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """The column as strings; a column that is no text is refused, since nobody meant its printed form."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{place} is {column.type}, but strings are needed")
    return column.cast(pa.string())


def label_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Labels as strings: integers and booleans are written out, a dictionary of strings stays one and keeps its order."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    try:
        return text_column(column, place)
    except DataError as error:
        raise DataError(f"{error}; a label is the name or the number of a class") from None


_READ = {"text": text_column, "label": label_column, "kind": text_column}


def _nearest(name: str, table: pa.Table) -> str:
    near = difflib.get_close_matches(name, table.column_names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f"; there are {', '.join(table.column_names)}"
