"""Stored logits (V, R, K), whole or the k largest of each row: which of the two it is, only this file knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compress.store.arrays import allocate

WHOLE = "logits.npy"
PARTS = ("top_log_p.npy", "top_places.npy", "rest_log_p.npy")


class TopK:
    """The k largest log-probabilities of each row, and for each of the K - k labels that are left out an equal share of the probability that is lost.

    Read and written like the array (V, R, K) that it stands for: what is read are log-probabilities, float32. log_p, places: (V, R, k);
    rest: (V, R), log((1 - sum of the kept p) / (K - k)). A `repeated` one has a single view that stands for all.
    """

    def __init__(self, log_p: Any, places: Any, rest: Any, *, shape: tuple[int, int, int]) -> None:
        self.log_p, self.places, self.rest, self.shape = log_p, places, rest, shape
        self.repeated = len(rest) < shape[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[view] for view in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *others = key if isinstance(key, tuple) else (key,)
        if self.repeated:
            first = first * 0
        rest, places, log_p = (np.asarray(array[(first, *others)]) for array in (self.rest, self.places, self.log_p))
        whole = np.repeat(rest.astype(np.float32)[..., None], self.shape[2], axis=-1)
        np.put_along_axis(whole, places.astype(np.int64), log_p.astype(np.float32), -1)
        return whole

    def view(self, number: int) -> Writer:
        """One view to write to."""
        return Writer(self, number)

    def lost(self) -> float:
        """The mean share of a row's probability that is not kept."""
        kept = np.exp(np.asarray(self.log_p, np.float32)).sum(-1)
        return float(np.clip(1 - kept, 0, 1).mean())

    def flush(self) -> None:
        """Writes what is mapped."""
        for array in (self.log_p, self.places, self.rest):
            array.flush()


class Writer:
    """One view of a TopK: logits (r, K) in, the largest of them kept."""

    def __init__(self, into: TopK, number: int) -> None:
        self.into, self.number = into, number

    def __setitem__(self, rows: Any, logits: np.ndarray) -> None:
        into, k = self.into, self.into.log_p.shape[2]
        log_p = logits.astype(np.float32) - np.logaddexp.reduce(logits.astype(np.float32), axis=-1, keepdims=True)
        places = np.argpartition(-log_p, k - 1, axis=-1)[:, :k]
        kept = np.take_along_axis(log_p, places, -1)
        lost = np.clip(1 - np.exp(kept).sum(-1), 1e-12, None)
        into.log_p[self.number, rows], into.places[self.number, rows] = kept, places
        into.rest[self.number, rows] = np.minimum(np.log(lost / (log_p.shape[-1] - k)), kept.min(-1))


def create(folder: Path, shape: tuple[int, int, int], keep: int | None, *, again: bool = False) -> Any:
    """New stored logits of that shape in `folder`, or as a killed run left them: whole, or the `keep` largest of a row where there are more."""
    views, rows, classes = shape

    def one(name: str, extent: tuple[int, ...], kind: Any) -> np.memmap:
        path = folder / name
        return np.lib.format.open_memmap(path, mode="r+") if again else allocate(path, extent, kind)

    if keep is None or keep >= classes:
        return one(WHOLE, shape, np.float16)
    kinds = (np.float16, np.uint16 if classes <= 2**16 else np.int32, np.float16)
    extents: tuple[tuple[int, ...], ...] = ((views, rows, keep), (views, rows, keep), (views, rows))
    return TopK(*(one(*part) for part in zip(PARTS, extents, kinds, strict=True)), shape=shape)


def open_logits(folder: Path, *, views: int, classes: int) -> Any:
    """The stored logits in `folder`, (V, R, K) to who reads them; of a teacher with one answer to all views that one is repeated."""
    if (folder / WHOLE).is_file():
        logits = np.load(folder / WHOLE, mmap_mode="r")
        return np.broadcast_to(logits, (views, *logits.shape[1:])) if len(logits) < views else logits
    parts = [np.load(folder / name, mmap_mode="r") for name in PARTS]
    return TopK(*parts, shape=(views, parts[2].shape[1], classes))


def view_of(stored: Any, number: int) -> Any:
    """One view of what `create` gave, to write to."""
    return stored.view(number) if isinstance(stored, TopK) else stored[number]


def describe_lost(stored: Any) -> dict[str, Any]:
    """What is told of logits that are not whole: k, and the mean probability that is lost; {} of whole ones."""
    if not isinstance(stored, TopK):
        return {}
    k, lost = stored.log_p.shape[2], stored.lost()
    words = (
        f"of {stored.shape[2]:,} answers the {k} likeliest are stored; the others have {100 * lost:.2g} % of the probability in the mean"
    )
    return {"top_k": {"kept": k, "lost": lost}, "top_k_in_words": words}
