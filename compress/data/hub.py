"""A data set of Hugging Face `datasets`: an id on the hub with a pinned revision, or a local folder.

A local folder is what `save_to_disk` wrote, or one that `load_dataset` understands (Parquet files, an image folder). Tables stay
memory-mapped; `load_dataset` keeps its Arrow files in its own cache (HF_DATASETS_CACHE).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError, DependencyError, RecipeError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

TIMEOUT_S = 10.0  # seconds that the hub has for its first answer


def hub(
    *,
    base: Path,
    id: str | None = None,
    revision: str | None = None,
    folder: str | None = None,
    config: str | None = None,
    train: str = "train",
    validation: str | None = None,
    test: str = "test",
    columns: dict[str, str] | None = None,
    slices: list[str] | None = None,
    data_heads: Mapping[str, str] | None = None,
    licence: str = "not stated",
) -> Source:
    """The rows of a data set by `id` and `revision` (the commit, 40 hex digits), or in `folder` (relative to the recipe).

    train, validation and test name its splits; `columns` maps image, text, label ... to its columns; `slices` are further columns, by the
    values of which accuracy is told too; `data_heads`: head -> column of its labels, in place of label; config names one of its configurations. The identity is
    id, revision and config, or the sha256 of every file of the folder.
    """
    if (id is None) == (folder is None):
        raise RecipeError("data.options: source hub needs one of id and folder")
    if id is not None and not re.fullmatch("[0-9a-f]{40}", revision or ""):
        raise RecipeError(f"data.options.revision: {revision!r}; an id needs the commit, 40 hex digits, so that a run can be repeated")
    if folder is not None and revision is not None:
        raise RecipeError("data.options.revision: a folder has no revision; leave it out")
    root = None if folder is None else base / folder
    if root is not None and not root.is_dir():
        raise DataError(f"data.options.folder: {root} is not a folder")
    identity = f"hub {id}@{revision} {config or ''}".rstrip() if root is None else f"folder {_hash(root)}"
    from compress.data.columns import standard_names

    names = standard_names(columns, slices, data_heads)
    splits = {"train": train, "validation": validation, "test": test}

    def read() -> dict[str, pa.Table]:
        loaded = _load_folder(root, config) if root else _load_id(str(id), str(revision), config)
        return {
            split: _table(loaded, name, f"data.options.{split}", names, root or Path())
            for split, name in splits.items()
            if name is not None
        }

    return Source(identity=identity, read=read, licence=licence)


def _hash(root: Path) -> str:
    """The sha256 over the relative path and content of every file, in order of path."""
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(root).as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _load_folder(root: Path, config: str | None) -> datasets.DatasetDict:
    import datasets

    if (root / "state.json").exists():
        raise DataError(f"data.options.folder: {root} holds one Dataset without splits; save a DatasetDict with train and test")
    if (root / "dataset_dict.json").exists():
        return datasets.DatasetDict.load_from_disk(str(root))
    try:
        return datasets.load_dataset(str(root), name=config)
    except (datasets.exceptions.DatasetsError, ValueError, FileNotFoundError) as error:
        raise DataError(f"data.options.folder: {root}: datasets cannot load it: {error}") from error


def _load_id(id: str, revision: str, config: str | None) -> datasets.DatasetDict:
    """Asks the hub first, with a time limit: `load_dataset` alone retries for minutes, or takes a cached copy of another revision."""
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub_errors

    try:
        HfApi(endpoint=os.environ.get("HF_ENDPOINT")).dataset_info(id, revision=revision, timeout=TIMEOUT_S)
    except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError) as error:
        raise DataError(f"data.options.id: {id}@{revision} is not on the hub, or not open to you: {error}") from error
    except (
        hub_errors.HTTPError,
        OSError,
    ) as error:  # HTTPError is the one of whichever client the library uses; offline mode is an OSError
        raise DependencyError(
            f"data.options.id: no network to fetch {id}@{revision} ({type(error).__name__}: {error}). Where there is one, run\n"
            f"  python -c \"import datasets; datasets.load_dataset('{id}', revision='{revision}').save_to_disk('{id.split('/')[-1]}')\"\n"
            "then copy that folder here and give it as data.options.folder."
        ) from error
    try:
        return datasets.load_dataset(id, name=config, revision=revision)
    except (datasets.exceptions.DatasetsError, ValueError) as error:
        raise DataError(f"data.options.id: {id}@{revision}: datasets cannot load it: {error}") from error


def _table(loaded: datasets.DatasetDict, split: str, place: str, names: dict[str, str], folder: Path) -> pa.Table:
    """The standard columns of one split, undecoded: the "arrow" format gives images as the struct {bytes, path} that is stored."""
    from compress.data.columns import ANSWER, join_answers, standard_table

    if split not in loaded:
        raise DataError(f"{place}: no split {split!r}; there are {', '.join(map(str, loaded))}")
    rows = loaded[split]
    table = rows.with_format("arrow")[:]
    for label in {own for standard, own in names.items() if standard == "label" or standard.startswith(ANSWER)}:
        if label in table.column_names:
            table = _name_classes(table, label, rows.features[label])
    return join_answers(standard_table(table, names, folder=folder, place=place))


def _name_classes(table: pa.Table, column: str, feature: object) -> pa.Table:
    """A ClassLabel's numbers become its names, in its order; -1 (its "no label") becomes null. A list of them becomes a list of names."""
    import datasets
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    inner, values = getattr(feature, "feature", feature), table.column(column).combine_chunks()
    if not isinstance(inner, datasets.ClassLabel):
        return table
    names = pa.array(inner.names)
    if inner is not feature:  # a list of tags
        tags = names.take(pc.list_flatten(values))
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        named: pa.Array = pa.ListArray.from_arrays(offsets, tags, mask=values.is_null())
    else:
        numbers = values.cast(pa.int32())
        named = pa.DictionaryArray.from_arrays(pc.if_else(pc.less(numbers, 0), None, numbers), names)
    return table.set_column(table.column_names.index(column), column, named)
