"""Further: rows that the teacher alone answers, behind those of the training split; a student hears there what labels do not say.

Wordings (compress/modalities/wordings.py) say an input anew, pairings put inputs together that no row has together. A teacher answers every
training row as it is labelled, and these as a stranger would ask, so of little data they tell most of what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.io_spec import PRESENT
from compress.modalities.tokens import read_texts, write_texts


@dataclass(frozen=True)
class Further:
    """E rows without labels, and W more inputs of one modality that they read."""

    rows: dict[str, np.ndarray]  # by modality: (E,) the input of each row; numbers of more inputs count on behind the split's own
    modality: str = ""  # of the more inputs, where there are any
    inputs: pa.Array | None = None  # (W,) strings

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))


def draw_pairings(split: Any, each: int, *, seed: int) -> Further:
    """For each input of the first modality of a `Split` `each` rows that read the other inputs of rows drawn at random; none lacks an input."""
    first, *others = split.rows
    able = np.flatnonzero(~np.any([split.lacks(m) for m in split.rows if m != PRESENT], axis=0))
    owners = np.repeat(np.unique(np.asarray(split.rows[first])[able]), each)
    donors = np.random.default_rng(seed).choice(able, len(owners)) if len(able) else able
    return Further({first: owners, **{m: np.asarray(split.rows[m])[donors] for m in others}})


def joined(parts: list[Further]) -> Further | None:
    """All their rows, one part behind the other; at most one brings more inputs. None of none."""
    if not parts:
        return None
    bringing = next((part for part in parts if part.inputs is not None), parts[0])
    rows = {m: np.concatenate([part.rows[m] for part in parts]) for m in parts[0].rows}
    return Further(rows, bringing.modality, bringing.inputs)


def write_further(folder: Path, further: Further) -> None:
    """Writes further_<modality>.npy of all modalities, and further-<modality>.arrow of more inputs."""
    if further.inputs is not None:
        write_texts(folder / f"further-{further.modality}.arrow", further.inputs)
    for m, which in further.rows.items():
        np.save(folder / f"further_{m}.npy", which)


def read_further(folder: Path) -> Further | None:
    """What `write_further` wrote, memory-mapped; None where there is nothing."""
    rows = {path.stem.removeprefix("further_"): np.load(path, mmap_mode="r") for path in sorted(folder.glob("further_*.npy"))}
    if not rows:
        return None
    found = next(folder.glob("further-*.arrow"), None)
    return Further(rows, found.stem.removeprefix("further-"), read_texts(found)) if found else Further(rows)
