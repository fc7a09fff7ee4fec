"""Near duplicates among texts: other case, other punctuation, a word more, less or changed in a sentence; by MinHash (datasketch).

Texts are compared as sets of runs of four characters, in lower case and without punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from datasketch import MinHash

from compress.modalities.near import gather_pairs, neighbours

OVERLAP = 0.7  # of the runs of two texts that both have (Jaccard): one word in about ten may be another
_RUN = 4  # characters
_BANDS, _BAND = 16, 4  # two texts with an overlap of 0.7 agree in all four hashes of some band in 99 of 100 cases: 1 - (1 - 0.7^4)^16
_AGREEMENT = 0.5  # of the 64 hashes: below it the overlap is not worth counting; 0.7 would have to be off by 3.5 deviations


def near_texts(parts: Sequence[pa.Array]) -> np.ndarray:
    """(P, 2) int64: the near duplicates among texts that are numbered through all parts in turn; 256 bytes of memory a text."""
    texts = pa.chunked_array(parts, pa.string())
    signatures = sign(text.as_py() for text in texts)
    found = []
    for band in range(_BANDS):
        hashes = signatures[:, band * _BAND : (band + 1) * _BAND].astype(np.uint64)
        keys = hashes @ np.array(
            [1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64
        )  # odd numbers: mixes, modulo 2^64
        for pairs in neighbours(keys):
            found.append(pairs[keys[pairs[:, 0]] == keys[pairs[:, 1]]])
    pairs = gather_pairs(found, len(texts))
    pairs = pairs[(signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1) >= _AGREEMENT]
    near = [overlap(texts[first].as_py(), texts[second].as_py()) >= OVERLAP for first, second in pairs.tolist()]
    return pairs[np.array(near, bool)]


def sign(texts: Iterable[str]) -> np.ndarray:
    """(N, 64) uint32 MinHash signatures: of two texts, the share of equal hashes estimates their overlap."""
    runs = ([run.encode() for run in _runs(text)] for text in texts)
    hashes = [hashed.hashvalues.astype(np.uint32) for hashed in MinHash.generator(runs, num_perm=_BANDS * _BAND)]
    return np.array(hashes, np.uint32).reshape(-1, _BANDS * _BAND)


def overlap(first: str, second: str) -> float:
    """Jaccard index of the texts' runs of characters: 1 where they differ at most in case, punctuation and white space."""
    a, b = _runs(first), _runs(second)
    return len(a & b) / len(a | b)


def _runs(text: str) -> set[str]:
    text = unicodedata.normalize("NFKC", text).casefold()
    plain = " ".join(re.findall(r"\w+", text)) or text.strip()  # a text of signs alone (an emoji) is all signs
    padded = f" {plain} "
    return {padded[start : start + _RUN] for start in range(max(len(padded) - _RUN + 1, 1))}
