"""WebDataset shards: tar files in which the files of one key (`0001.jpg`, `0001.txt`, `0001.json`) are one sample, mapped where they lie.

Nothing is unpacked: pictures and sounds stay in the shard, as views of its memory map, and memory holds names, texts and labels alone (measured: 0.5 kB
a row of 20 kB). So the shards must be plain .tar, not compressed. The package `webdataset` (BSD, light) hands out each file's content, pass by pass, to a
training loop; what is needed here is where in the shard it lies, once, and Python's `tarfile` says that. Names in a shard are keys and nothing else: no
file is opened by them.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.manifest import joined
from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

USUAL = {"image": "jpg;jpeg;png;webp", "audio": "wav;flac;ogg;mp3", "text": "txt", "label": "cls"}  # where `columns` says nothing
LOOKED = 100  # samples of a split that are asked which columns there are, where nobody named them
WINDOW = 2**30  # bytes: the place of a view in its buffer is an int32, and shards may be larger
INLINE = 12  # bytes of a value that an Arrow view holds itself
LARGEST = 2**31 - 1  # bytes of a file in a shard

Samples = dict[str, dict[str, tuple[int, int]]]  # key -> extension -> where in the shard its content starts, and its bytes
Column = list[tuple[str, list[str]]]  # extensions, the first that a sample has counts; of a json the names that lead to its value


def webdataset(
    *,
    base: Path,
    train: str | list[str],
    test: str | list[str],
    validation: str | list[str] | None = None,
    columns: dict[str, str] | None = None,
    slices: list[str] | None = None,
    data_heads: Mapping[str, str] | None = None,
    licence: str = "not stated",
) -> Source:
    """The samples of the shards `train`, `test` and `validation` (relative to the recipe): paths, patterns such as train-{000..009}.tar, or lists of them.

    `columns` maps image, text, label ... to extensions: `jpg`, `jpg;png` for whichever there is, `json.answer` for a value in a json; without: jpg,
    jpeg, png or webp, wav, flac, ogg or mp3, txt, cls. `slices` are further ones, by the values of which accuracy is told too; `data_heads`:
    head -> that of its labels, in place of label.

    A row's id is SHARD/KEY where `columns` names none. The identity is that of the shards' names, sizes and times of change (ns): one
    replaced by another with the same size and time goes unnoticed, which is the price for not reading all of them.
    """
    from compress.data.columns import join_answers, standard_names, standard_table

    names = standard_names(USUAL | (columns or {}), slices, data_heads)
    named = {*(columns or {}).values(), *(slices or []), *(data_heads or {}).values()}
    given = {"train": train, "validation": validation, "test": test}
    shards = {split: find_shards(f"data.options.{split}", base, some) for split, some in given.items() if some is not None}
    files = _files_among(names)

    def read() -> dict[str, pa.Table]:
        found = {}
        for split, some in shards.items():
            place = f"data.options.{split}"
            table = _table(place, some, {own: own in files for own in names.values()}, named)
            there = {standard: own for standard, own in names.items() if own in table.column_names}
            found[split] = join_answers(standard_table(table, there, folder=base, place=place))
        return found

    stamps = "".join(
        f"{split} {path.relative_to(base) if path.is_relative_to(base) else path} {path.stat().st_size} {path.stat().st_mtime_ns}\n"
        for split, some in shards.items()
        for path in some
    )
    return Source(identity=f"webdataset {hashlib.sha256(stamps.encode()).hexdigest()}", read=read, licence=licence)


def find_shards(place: str, base: Path, given: str | Sequence[str]) -> list[Path]:
    """The shards that one or several patterns name, in their order. Raises DataError for one that is not there, or is no .tar."""
    patterns = [given] if isinstance(given, str) else given
    paths = [base / name for pattern in patterns for name in expand(pattern)]
    if not paths:
        raise DataError(f"{place}: names no shard")
    for path in paths:
        if path.suffix != ".tar":
            raise DataError(
                f"{place}: {path} ends in {path.suffix!r}; give .tar files, and unpack .tar.gz with gunzip: shards are read in place"
            )
        if not path.is_file():
            raise DataError(f"{place}: {path} is not a file")
    return paths


def expand(pattern: str) -> list[str]:
    """The names that a pattern stands for, as a shell has them: a-{08..10} is a-08, a-09, a-10, and a.{x,y} is a.x, a.y."""
    if not (braces := re.search(r"\{([^{}]*)\}", pattern)):
        return [pattern]
    inner = braces[1].split(",")
    if bounds := re.fullmatch(r"(\d+)\.\.(\d+)", braces[1]):
        width = max(map(len, bounds.groups())) if any(bound.startswith("0") for bound in bounds.groups()) else 0
        inner = [f"{number:0{width}d}" for number in range(int(bounds[1]), int(bounds[2]) + 1)]
    return [name for one in inner for name in expand(pattern[: braces.start()] + one + pattern[braces.end() :])]


def read_every_extension(split: str, path: Path) -> pa.Table:
    """All that the samples of one pattern hold, a column for each extension and for each value of a json. `split` is for messages."""
    place = f"--{split} {path}"
    shards = find_shards(place, path.parent, path.name)
    offered = _offered(place, shards)
    table = _table(place, shards, offered, set())
    return table.select([own for own in offered if own in table.column_names])


def _files_among(names: Mapping[str, str]) -> set[str]:
    """Those of the columns that are files, whose content stays in the shard. Raises DataError for one that is to be a value in a json."""
    from compress.data.columns import MASK
    from compress.modalities.modality import modality
    from compress.tables import MODALITIES

    files = {standard: names[standard] for standard in (*MODALITIES, MASK) if standard == MASK or modality(standard).reads_files}
    for standard, own in files.items():
        if any(path for _, path in _parse(own)) or own == "json":
            raise DataError(f"data.options.columns.{standard}: {own!r}; give the extension of a file in the shard, such as jpg")
    return set(files.values())


def _parse(own: str) -> Column:
    """`jpg;png` -> [("jpg", []), ("png", [])]; `meta.json.a.b` -> [("meta.json", ["a", "b"])]."""
    parts = [one.split(".") for one in own.split(";")]
    ends = [part.index("json") + 1 if "json" in part else len(part) for part in parts]
    return [(".".join(part[:end]).lower(), part[end:]) for part, end in zip(parts, ends, strict=True)]


def _table(place: str, shards: Sequence[Path], columns: Mapping[str, bool], named: set[str]) -> pa.Table:
    """The columns (name -> whether it is of files) that there are, and id; those `named` must be there."""
    from compress.recipe.messages import did_you_mean

    table = joined(place, [_read(f"{place} ({shard})", shard, columns) for shard in shards])
    if absent := sorted(named - set(table.column_names)):
        there = _offered(place, shards)
        raise DataError(
            f"{place}: no sample has {absent[0]!r}{did_you_mean(absent[0], there)}; there are {', '.join(sorted(there)) or 'none'}"
        )
    return table


def _offered(place: str, shards: Sequence[Path]) -> dict[str, bool]:
    """What the first samples hold: column -> whether it is of files that are no text."""
    found: dict[str, bool] = {}
    shard, samples = shards[0], _samples(f"{place} ({shards[0]})", shards[0])
    content = memoryview(_map(shard))
    for key, sample in list(samples.items())[:LOOKED]:
        for extension, (start, size) in sample.items():
            if extension.split(".")[-1] == "json":
                value = _value(f"{place} ({shard})", key, extension, bytes(content[start : start + size]))
                found |= {f"{extension}.{name}": False for name in value} if isinstance(value, dict) else {extension: False}
            else:
                found[extension] = found.get(extension, False) or not _is_text(bytes(content[start : start + size]))
    return found


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _read(place: str, shard: Path, columns: Mapping[str, bool]) -> pa.Table:
    """One shard: those of the columns that any of its samples has."""
    import pyarrow as pa

    samples, content = _samples(place, shard), _map(shard)
    found: dict[str, Any] = {"id": pa.array([f"{shard.name}/{key}" for key in samples], pa.string())}
    for own, files in columns.items():
        column = _parse(own)
        if not any(extension in sample for extension, _ in column for sample in samples.values()):
            continue
        if files:
            found[own] = _mapped(content, [_first(sample, column) for sample in samples.values()])
            continue
        values = [_looked_up(place, key, sample, column, content) for key, sample in samples.items()]
        if any(value is not None for value in values):
            try:
                found[own] = pa.array(values)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise DataError(f"{place}: {own!r} cannot be read as one column: {error}; write it in one form") from error
    return pa.table(found)


def _samples(place: str, shard: Path) -> Samples:
    """The samples of a shard, in the order in which their keys come first. What is no plain file, or has no extension, is passed over.

    Raises: DataError for a shard that is damaged or cut off, for a file that is there twice, and for one that is too large.
    """
    samples: Samples = {}
    name, length = "", shard.stat().st_size
    try:
        with tarfile.open(shard, "r:", encoding="utf-8", errors="replace") as tar:
            for member in tar:
                name = member.name
                parted = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", name)
                if not member.isreg() or member.issparse() or parted is None or re.match(r"__[^/]*__($|/)", name):
                    continue
                sample, extension = samples.setdefault(parted[1], {}), parted[2].lower()
                if extension in sample or member.size > LARGEST:
                    why = "is there twice; leave one" if extension in sample else "is larger than 2 GiB"
                    raise DataError(f"{place}: {name!r} {why}")
                sample[extension] = (member.offset_data, member.size)
            end = tar.offset
        with shard.open("rb") as file:
            file.seek(end)
            whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)  # what ends an archive; tarfile passes over its absence
    except tarfile.TarError:
        whole = False
    if not whole:
        raise DataError(
            f"{place}: damaged or cut off{f' at or behind {name!r}' if name else ''}, {length:,} bytes; write or copy this shard again"
        )
    return samples


def _map(shard: Path) -> pa.Buffer:
    """The shard's bytes, read from disk where they are looked at; no file stays open."""
    import pyarrow as pa

    with pa.memory_map(str(shard)) as file:
        return file.read_buffer()


def _first(sample: Mapping[str, tuple[int, int]], column: Column) -> tuple[int, int]:
    """Where the file of a sample starts, and its bytes; (-1, 0) where there is none."""
    return next((sample[extension] for extension, _ in column if extension in sample), (-1, 0))


def _mapped(content: pa.Buffer, places: Sequence[tuple[int, int]]) -> pa.Array:
    """(N,) binary_view of a shard: start and bytes of each value, start -1 is null. Nothing is copied but what is shorter than a view.

    Source: Arrow's columnar format, "variable-size binary view layout": length, then prefix, buffer and place in it, or the value itself.
    """
    import numpy as np
    import pyarrow as pa

    start, size = np.array(places, np.int64).T
    bytes_of_shard: np.ndarray = np.frombuffer(content, np.uint8)
    views = np.zeros((len(places), 4), np.int32)
    views[:, 0] = size
    cells = views.view(np.uint8)  # (N, 16)
    for row in np.flatnonzero(size <= INLINE):
        cells[row, 4 : 4 + size[row]] = bytes_of_shard[start[row] : start[row] + size[row]] if size[row] else 0
    long = np.flatnonzero(size > INLINE)
    cells[long, 4:8] = bytes_of_shard[start[long, None] + np.arange(4)]
    views[long, 2], views[long, 3] = np.divmod(start[long], WINDOW)
    windows = [content.slice(at) for at in range(0, len(bytes_of_shard), WINDOW)]
    there = pa.py_buffer(np.packbits(start >= 0, bitorder="little"))
    return pa.Array.from_buffers(pa.binary_view(), len(places), [there, pa.py_buffer(views), *windows])


def _looked_up(place: str, key: str, sample: Mapping[str, tuple[int, int]], column: Column, content: pa.Buffer) -> Any:
    """The text of a sample, or what its json holds under the column's names; None where there is none."""
    found = next(((extension, path) for extension, path in column if extension in sample), None)
    if found is None:
        return None
    start, size = sample[found[0]]
    value = _value(place, key, found[0], content.slice(start, size).to_pybytes())
    for name in found[1]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _value(place: str, key: str, extension: str, content: bytes) -> Any:
    """A text without the white space around it, or what a json holds."""
    try:
        text = content.decode()
        return json.loads(text) if extension.split(".")[-1] == "json" else text.strip()
    except ValueError as error:
        raise DataError(f"{place}: {key + '.' + extension!r} is not readable: {error}") from error
