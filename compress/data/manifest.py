"""The user's own rows: one CSV, JSONL or Parquet file a split (of train also several), with a column for each input, label and, if wanted, kind.

A cell that is a file is a path, relative to the manifest's folder, or in Parquet its content (binary, or a struct {bytes, path} as
Hugging Face writes it). A Parquet file is read into memory whole; a folder of `datasets` (source hub) is memory-mapped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def manifest(
    *,
    base: Path,
    train: str | list[str],
    test: str,
    validation: str | None = None,
    columns: dict[str, str] | None = None,
    slices: list[str] | None = None,
    data_heads: Mapping[str, str] | None = None,
    licence: str = "not stated",
) -> Source:
    """The rows of the files `train`, `test` and `validation` (relative to the recipe; train may be a list of files); `columns` maps image, text, label ... to the
    names that they have there; `slices` are further columns, by the values of which accuracy is told too; `data_heads`: head -> column of its labels, in place of label.

    The identity is the sha256 of each file, with path, size and time of change (ns) of every file that it names: one replaced
    by another with the same size and time goes unnoticed, which is the price for not reading all of them.
    """
    from compress.data.columns import join_answers, standard_names

    names = standard_names(columns, slices, data_heads)
    files = {"train": train if isinstance(train, list) else [train], "validation": [validation] if validation else [], "test": [test]}
    if not files["train"]:
        raise DataError("data.options.train: names no file")
    paths = {split: [existing_table(f"data.options.{split}", base / file) for file in some] for split, some in files.items() if some}

    def read() -> dict[str, pa.Table]:
        return {
            split: join_answers(joined(f"data.options.{split}", [_read(split, path, names) for path in some]))
            for split, some in paths.items()
        }

    return Source(identity=_identity(paths, names), read=read, licence=licence)


def read_every_column(split: str, path: Path) -> pa.Table:
    """All columns of one file, as they are read where a recipe names them: those of a CSV as strings. `split` is for messages."""
    from pyarrow import csv

    place = f"--{split} {path}"
    existing_table(f"--{split}", path)
    with _readable(path, place):
        if path.suffix == ".csv":
            names = csv.open_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True)).schema.names
            return _csv(path, {name: name for name in names})
    return read_table(path, {}, place=place)


def read_table(path: Path, names: dict[str, str], *, place: str) -> pa.Table:
    """One file as it is; the values of `names` are columns whose cells of a CSV are taken as they are written: "007" and "NA" are strings.

    Of Parquet these columns alone where there are some. `place` opens every message."""
    with _readable(path, place):
        return {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix](path, names)


@contextmanager
def _readable(path: Path, place: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{place}: not readable as {path.suffix[1:]}: {error}") from error


def existing_table(place: str, path: Path) -> Path:
    """The path. Raises DataError where there is no such file, or its name says that it is no table."""
    if not path.is_file():
        raise DataError(f"{place}: {path} is not a file")
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise DataError(f"{place}: {path} ends in {path.suffix!r}; give a .csv, .jsonl or .parquet file; .tar is for source webdataset")
    return path


def _read(split: str, path: Path, names: dict[str, str]) -> pa.Table:
    """The standard columns of one file."""
    from compress.data.columns import standard_table

    place = f"data.options.{split} ({path})"
    return standard_table(read_table(path, names, place=place), names, folder=path.parent, place=place)


def joined(place: str, tables: list[pa.Table]) -> pa.Table:
    """The rows of several files, one after the other; what only some of them have is blank in the others. `place` opens a message."""
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{place}: its files cannot be read as one: {error}; write that column in one form") from error


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

    table = json.read_json(path, parse_options=json.ParseOptions(newlines_in_values=True))
    # Left to itself, Arrow reads a text such as "2024-01-31" as a time: such columns are read again as they are written.
    times = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
    if not times:
        return table
    schema = pa.schema([(name, pa.string()) for name in times])
    return json.read_json(path, parse_options=json.ParseOptions(explicit_schema=schema, newlines_in_values=True))


def _parquet(path: Path, own: dict[str, str]) -> pa.Table:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    there = [name for name in file.schema_arrow.names if name in own.values()]
    # Where none of them is there, all are read so that the error can list them.
    return file.read(columns=there or None)


def _identity(paths: dict[str, list[Path]], names: dict[str, str]) -> str:
    lines = []
    for split, path in ((split, path) for split, some in paths.items() for path in some):
        with path.open("rb") as file:
            lines.append(f"{split} {hashlib.file_digest(file, 'sha256').hexdigest()}")
        if not _holds_no_paths(path, names):
            lines += _file_stamps(_read(split, path, names), path.parent)
    return "manifest " + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _holds_no_paths(path: Path, names: dict[str, str]) -> bool:
    """Whether a Parquet file carries the files of its rows, so that its own hash covers them; only its schema is read."""
    if path.suffix != ".parquet":
        return False
    import pyarrow as pa
    from pyarrow import parquet

    from compress.data.columns import MASK
    from compress.tables import MODALITIES

    try:
        schema = parquet.read_schema(path)
    except (pa.ArrowInvalid, OSError):
        return False  # reading the rows says what is wrong, with the place
    kinds = [schema.field(names[m]).type for m in MODALITIES if names[m] in schema.names]
    masks = [schema.field(names[MASK]).type] if names[MASK] in schema.names else []
    held = any(map(pa.types.is_binary, kinds)) and all(map(pa.types.is_binary, masks))
    return held and not any(map(pa.types.is_struct, kinds))


def _file_stamps(table: pa.Table, folder: Path) -> list[str]:
    """One line for each distinct file that a cell names: path relative to the manifest, size in bytes, time of change in ns."""
    import pyarrow as pa

    from compress.data.columns import MASK
    from compress.modalities.modality import modality
    from compress.tables import MODALITIES

    stamps = []
    for name in [*(m for m in MODALITIES if modality(m).reads_files), MASK]:
        if name not in table.column_names or not pa.types.is_string(table.schema.field(name).type):
            continue
        for path in table.column(name).unique().drop_null().to_pylist():
            try:
                stat = os.stat(path)
            except (OSError, ValueError):  # reported with its row when the files are read; ValueError: a NUL in the path
                stamps.append(f"{path} missing")
            else:
                stamps.append(f"{os.path.relpath(path, folder)} {stat.st_size} {stat.st_mtime_ns}")
    return stamps
