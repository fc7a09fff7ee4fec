"""Which rows are alike where nobody says so: those that share an input, such as two texts about one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from compress.data.rows import distinct


def name_alike(tables: dict[str, pa.Table], modalities: Sequence[str], column: str) -> dict[str, pa.Table]:
    """The tables with a `column` of names, the same for rows of any split that share an input, be it through other rows.

    So the texts of one picture are alike, and so are the pictures of one text, with all that is said of them. Blank cells join nothing.
    """
    rows = sum(table.num_rows for table in tables.values())
    links, nodes = [np.empty((0, 2), np.int64)], rows
    for m in modalities:
        codes, found = distinct(pa.chunked_array([chunk for table in tables.values() for chunk in table.column(m).chunks]))
        there = np.flatnonzero(codes >= 0)
        links.append(np.stack([there, nodes + codes[there]], axis=1))
        nodes += len(found)
    pairs = np.concatenate(links)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(nodes, nodes))
    names = connected_components(graph, directed=False)[1][:rows].astype(str)
    ends = np.cumsum([table.num_rows for table in tables.values()])[:-1]
    return {
        split: table.append_column(column, pa.array(part.tolist(), pa.string()))
        for (split, table), part in zip(tables.items(), np.split(names, ends), strict=True)
    }
