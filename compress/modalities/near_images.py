"""Near duplicates among images: encoded again, resized, a little brighter; found by a perceptual hash, confirmed on small thumbnails.

The hash is the 64-bit pHash of the ImageHash library but for its resize, computed as two matrix products over blocks of pixels: that
library works image by image, 335 us each where these take 9 us. Images a hash apart by a few bits become neighbours when all hashes are
sorted, at least for one of eight rotations of their bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.modalities.near import gather_pairs, neighbours

BITS = 10  # of 64 that may differ: copies differ by at most 8, two photographs of CIFAR-10 in 4 of a million pairs by at most 10
DIFFERENCE = 0.25  # of the contrast; see `confirm`
OFFSET = 32.0  # levels of 255
_ROTATIONS = range(0, 64, 8)
_PIXELS = 1 << 22  # in work at a time
_PAIRS = 1 << 12


def near_images(parts: Sequence[np.ndarray], folder: Path) -> np.ndarray:
    """(P, 2) int64: the near duplicates among images (N, S, S, 3) uint8 that are numbered through all parts in turn.

    Thumbnails lie in a nameless file in `folder` meanwhile, so that memory holds 8 bytes an image, and its pairs."""
    count, side = sum(map(len, parts)), parts[0].shape[1]
    cells = min(max(side // 4, 8), 16)
    hashes = np.empty(count, np.uint64)
    with tempfile.TemporaryFile(dir=folder) as file:
        thumbnails = np.memmap(file, np.uint8, "w+", shape=(max(count, 1), cells * cells, 3))
        place = 0
        for part in parts:
            step = max(_PIXELS // side**2, 1)
            for start in range(0, len(part), step):
                pixels = np.asarray(part[start : start + step])
                hashes[place : place + len(pixels)] = hash_images(pixels)
                thumbnails[place : place + len(pixels)] = shrink(pixels, cells)
                place += len(pixels)
        return _confirmed(_candidates(hashes), thumbnails)


def hash_images(pixels: np.ndarray) -> np.ndarray:
    """(N,) uint64 of pixels (N, S, S, 3): bit by bit, which of the 8x8 lowest frequencies of the grey image lie above their median."""
    side = pixels.shape[1]
    waves = np.cos(np.pi * np.arange(8)[:, None] * (np.arange(side) + 0.5) / side).astype(np.float32)  # (8, S)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    frequencies = (waves @ grey @ waves.T).reshape(len(pixels), 64)
    above = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").astype(np.uint64)[:, 0]


def shrink(pixels: np.ndarray, cells: int) -> np.ndarray:
    """(N, cells * cells, 3) uint8: means over a grid of cells, of pixels (N, S, S, 3); cells need not be whole pixels."""
    side = pixels.shape[1]
    edges = np.linspace(0, side, cells + 1)[:, None]
    part = np.clip(np.minimum(edges[1:], np.arange(side) + 1) - np.maximum(edges[:-1], np.arange(side)), 0, None)
    part = (part * cells / side).astype(np.float32)  # (cells, S), rows sum to 1
    small = part @ pixels.transpose(0, 3, 1, 2).astype(np.float32) @ part.T  # (N, 3, cells, cells)
    return np.rint(small.transpose(0, 2, 3, 1)).astype(np.uint8).reshape(len(pixels), cells * cells, 3)


def confirm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) bool: whether thumbnails (P, n, 3) show the same.

    The root mean square of their difference, brightness apart, is at most DIFFERENCE of their contrast (the root mean square about the
    mean), and brightness differs in no channel by more than OFFSET levels or than the contrast. So flat images are alike only where
    their colour is the same to a level.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    contrast = np.sqrt((_variance(a) + _variance(b)) / 2)
    a -= b
    near = np.sqrt(_variance(a)) <= np.maximum(DIFFERENCE * contrast, 1)
    return near & (np.abs(a.mean(axis=1)).max(axis=1) <= np.clip(contrast, 1, OFFSET))


def _variance(values: np.ndarray) -> np.ndarray:
    """(P,) of values (P, n, 3) about each channel's mean; in one pass, which takes a third of the time of np.var."""
    squares = np.einsum("pnc,pnc->p", values, values) / values[0].size if len(values) else np.zeros(0)
    return np.maximum(squares - (values.mean(axis=1) ** 2).mean(axis=1), 0)


def _candidates(hashes: np.ndarray) -> np.ndarray:
    found = []
    for turn in _ROTATIONS:
        keys = (hashes << np.uint64(turn)) | (hashes >> np.uint64((64 - turn) % 64))
        for pairs in neighbours(keys):
            found.append(pairs[np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]) <= BITS])
    return gather_pairs(found, len(hashes))


def _confirmed(pairs: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    blocks = [pairs[start : start + _PAIRS] for start in range(0, len(pairs), _PAIRS)]
    return np.concatenate([pairs[:0], *(some[confirm(thumbnails[some[:, 0]], thumbnails[some[:, 1]])] for some in blocks)])
