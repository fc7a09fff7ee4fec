"""`Source`: where rows come from, before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Source:
    """A data set that is known but not yet read.

    `identity` names the content for the fingerprint and is cheap: no image is opened for it.
    `read()` gives a table for each of the splits "train", "test" and, where the source has one, "validation". Columns, where present:
    `image` (string path, or binary file content), `text` (string), `label` (string, or a dictionary whose order is the order of the
    classes; null or blank is unlabelled), `mask` (in its place, as `image`: a class for each pixel), `kind` (string: type of question), `group` (string: rows that belong together, such as those of
    one patient, speaker or scene; null or blank belongs to none), `slice NAME` (string: the part of the rows that accuracy is told for).
    `left_out` counts what is in the source and in no table, by reason.
    """

    identity: str
    read: Callable[[], dict[str, pa.Table]]
    licence: str
    left_out: Mapping[str, int] = field(default_factory=dict)
