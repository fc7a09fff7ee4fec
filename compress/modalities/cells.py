"""Columns of a user's table in the form that a modality keeps its cells in: strings, paths, or the content of files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.errors import DataError


def text_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """The column as strings; a column that is no text is refused, since nobody meant its printed form."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{place} is {column.type}, but strings are needed")
    return column.cast(pa.string())


def word_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Lists of words as strings with spaces between them, and any other column as it is; a word that has a space in it or is empty is refused."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return column
    if not pa.types.is_string(column.type.value_type):
        raise DataError(f"{place} is {column.type}, but strings or lists of words are needed")
    words = pc.list_flatten(column.drop_null())
    broken = pc.or_kleene(pc.is_null(words), pc.match_substring_regex(words, r"\s|^$"))
    if pc.any(broken).as_py():
        first = words.filter(broken)[0].as_py()
        raise DataError(f"{place}: {first!r} is no word; give words without spaces")
    return pa.chunked_array([pa.array([None if cell is None else " ".join(cell) for cell in column.to_pylist()], pa.string())])


def file_column(column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
    """Paths that do not depend on the working directory (string), or file contents (binary).

    A struct is what Hugging Face `datasets` writes: {bytes, path}. Its bytes count where there are any, its paths otherwise.
    """
    if pa.types.is_struct(column.type):
        fields = {field.name for field in column.type}
        content = pc.struct_field(column, "bytes") if "bytes" in fields else None
        if content is not None and content.null_count < len(content):
            return content
        if "path" not in fields:
            raise DataError(f"{place} is {column.type}; a struct of files has the fields bytes and path")
        column = pc.struct_field(column, "path")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type) or pa.types.is_binary_view(column.type):
        return column
    paths = text_column(column, place)
    # A blank cell has to stay blank: joined to the folder it would become a directory that exists.
    relative = pc.and_(pc.invert(pc.starts_with(paths, "/")), pc.not_equal(paths, ""))
    return pc.if_else(relative, pc.binary_join_element_wise(os.path.abspath(folder), paths, "/"), paths)


def float_column(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Strings as they are written, or the float32 bytes of each list of numbers (binary); one number a row is a list of one."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    chunks = [_float_bytes(chunk, place) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.large_binary())


def _float_bytes(chunk: pa.Array, place: str) -> pa.Array:
    kind, there = chunk.type, chunk.is_valid()
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        chunk = chunk.cast(pa.large_list(kind.value_type))
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        chunk = pa.LargeListArray.from_arrays(pa.array(np.arange(len(chunk) + 1)), chunk)
    if not pa.types.is_large_list(chunk.type) or not (
        pa.types.is_floating(chunk.type.value_type) or pa.types.is_integer(chunk.type.value_type)
    ):
        raise DataError(f"{place} is {kind}, but numbers, lists of numbers or strings of numbers are needed")
    values = np.asarray(chunk.flatten().cast(pa.float32(), safe=False).fill_null(float("nan")))  # large integers are rounded, as texts are
    lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) * values.itemsize
    content = pa.Array.from_buffers(pa.large_binary(), len(chunk), [None, pa.py_buffer(offsets), pa.py_buffer(values)])
    return pc.if_else(there, content, pa.scalar(None, pa.large_binary()))
