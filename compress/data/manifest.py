"""The user's own rows: one CSV, JSONL or Parquet file a split, with the columns image, text, label and, if wanted, kind.

An image cell is a path, relative to the manifest's folder, or in Parquet the content of an image file (binary, or a struct {bytes, path}
as Hugging Face writes it). A Parquet file is read into memory whole; a folder of `datasets` (source hub) is memory-mapped.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def manifest(
    *,
    base: Path,
    train: str,
    test: str,
    validation: str | None = None,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    licence: str = "not stated",
) -> Source:
    """The rows of the files `train`, `test` and `validation` (relative to the recipe); image, text, label and kind name other columns.

    The identity is the sha256 of each file, with path, size and time of change (ns) of every image file that it names: an image replaced
    by another with the same size and time goes unnoticed, which is the price for not reading all of them.
    """
    names = {"image": image, "text": text, "label": label, "kind": kind}
    files = {"train": train, "validation": validation, "test": test}
    paths = {split: _existing(split, base / file) for split, file in files.items() if file is not None}

    def read() -> dict[str, pa.Table]:
        return {split: _read(split, path, names) for split, path in paths.items()}

    return Source(identity=_identity(paths, names), read=read, licence=licence)


def _existing(split: str, path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"data.options.{split}: {path} is not a file")
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise DataError(f"data.options.{split}: {path} ends in {path.suffix!r}; give a .csv, .jsonl or .parquet file")
    return path


def _read(split: str, path: Path, names: dict[str, str | None]) -> pa.Table:
    """The standard columns of one file. Cells of a CSV are taken as they are written: "007" and "NA" are strings."""
    import pyarrow as pa

    from compress.data.columns import standard_table

    place = f"data.options.{split} ({path})"
    own = {standard: name or standard for standard, name in names.items()}
    try:
        table = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix](path, own)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{place}: not readable as {path.suffix[1:]}: {error}") from error
    return standard_table(table, names, folder=path.parent, place=place)


def _csv(path: Path, own: dict[str, str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types={name: pa.string() for name in own.values()}),
    )


def _jsonl(path: Path, own: dict[str, str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import json

    # Left to itself, Arrow reads a text such as "2024-01-31" as a time. Labels are left to it, as they may be numbers.
    schema = pa.schema([(own[standard], pa.string()) for standard in ("image", "text", "kind")])
    table = json.read_json(path, parse_options=json.ParseOptions(explicit_schema=schema, newlines_in_values=True))
    absent = [name for name in schema.names if table.column(name).null_count == table.num_rows]  # the schema makes columns that no row has
    return table.drop_columns(absent)


def _parquet(path: Path, own: dict[str, str]) -> pa.Table:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    there = [name for name in file.schema_arrow.names if name in own.values()]
    # Where none of them is there, all are read so that the error can list them.
    return file.read(columns=there or None)


def _identity(paths: dict[str, Path], names: dict[str, str | None]) -> str:
    lines = []
    for split, path in paths.items():
        with path.open("rb") as file:
            lines.append(f"{split} {hashlib.file_digest(file, 'sha256').hexdigest()}")
        if not _holds_images(path, names["image"] or "image"):
            lines += _image_stamps(_read(split, path, names), path.parent)
    return "manifest " + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _holds_images(path: Path, column: str) -> bool:
    """Whether a Parquet file carries its images, so that its own hash covers them; only its schema is read."""
    if path.suffix != ".parquet":
        return False
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
    except (pa.ArrowInvalid, OSError):
        return False  # reading the rows says what is wrong, with the place
    return column in schema.names and pa.types.is_binary(schema.field(column).type)


def _image_stamps(table: pa.Table, folder: Path) -> list[str]:
    """One line for each distinct image file: path relative to the manifest, size in bytes, time of change in ns."""
    import pyarrow as pa

    if "image" not in table.column_names or not pa.types.is_string(table.schema.field("image").type):
        return []
    stamps = []
    for path in table.column("image").unique().drop_null().to_pylist():
        try:
            stat = os.stat(path)
        except (OSError, ValueError):  # reported with its row when the images are read; ValueError: a NUL in the path
            stamps.append(f"{path} missing")
        else:
            stamps.append(f"{os.path.relpath(path, folder)} {stat.st_size} {stat.st_mtime_ns}")
    return stamps
