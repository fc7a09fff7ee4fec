"""Image files to memory-mapped pixels: RGB, squares, uint8. Nothing but the images in work is held in memory.

An image that has the right size already keeps its pixels; another is resized without regard to its proportions (bilinear, antialiased).
Transparency is dropped, and the orientation noted in EXIF is not applied.
"""

from __future__ import annotations

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from compress.data.arrays import allocate
from compress.data.rows import Distinct

BLOCK = 64  # images a thread takes at a time

# What PIL raises on damaged files, by format: PNG SyntaxError, TIFF struct.error and KeyError, several others ValueError and IndexError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)


def decode_image(value: str | bytes, *, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """One image file (path or content) as (S, S, 3) uint8 for each S of `sizes`.

    Raises FileNotFoundError, DecompressionBombError above PIL's MAX_IMAGE_PIXELS, or any of PIL's errors for a damaged file.
    """
    with Image.open(value if isinstance(value, str) else io.BytesIO(value)) as file:
        if Image.MAX_IMAGE_PIXELS is not None and file.width * file.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"{file.width} x {file.height} pixels, more than {Image.MAX_IMAGE_PIXELS:,}")
        image = file.convert("RGB")
    squares = [image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR) for size in sizes]
    return [np.asarray(square) for square in squares]


def write_images(images: Distinct, files: dict[Path, int], *, threads: int) -> dict[int, tuple[str, str]]:
    """Decodes each of the N images once and writes it to every file: .npy, (N, S, S, 3) uint8, with S the file's value.

    Returns the images that could not be read, by index: reason and detail. Their pixels are 0.
    """
    maps = [allocate(path, (len(images), size, size, 3), np.uint8) for path, size in files.items()]
    sizes = tuple(files.values())

    def write(start: int) -> dict[int, tuple[str, str]]:
        failed = {}
        for index in range(start, min(start + BLOCK, len(images))):
            try:
                squares = decode_image(images.value(index), sizes=sizes)
            except (*_BROKEN, Image.DecompressionBombError) as error:
                failed[index] = _explain(error, images.shown(index))
            else:
                for pixels, square in zip(maps, squares, strict=True):
                    pixels[index] = square
        return failed

    failures: dict[int, tuple[str, str]] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module="PIL")  # what matters of them is an error here, reported with its row
        for failed in pool.map(write, range(0, len(images), BLOCK)):
            failures.update(failed)
    for pixels in maps:
        pixels.flush()
    return failures


def keep_images(path: Path, kept: np.ndarray) -> None:
    """Rewrites a file of `write_images` with the images of the indices `kept` alone."""
    whole = np.load(path, mmap_mode="r")
    short = allocate(path.with_suffix(".part"), (len(kept), *whole.shape[1:]), np.uint8)
    for start in range(0, len(kept), BLOCK):
        short[start : start + BLOCK] = whole[kept[start : start + BLOCK]]
    short.flush()
    path.with_suffix(".part").replace(path)


def _explain(error: BaseException, shown: str) -> tuple[str, str]:
    """The reason that rows are counted under, and what is said about one of them."""
    if isinstance(error, Image.DecompressionBombError):
        return "image too large", f"{shown}: {error}"
    if isinstance(error, FileNotFoundError):
        return "missing file", shown
    return "broken image", f"{shown}: {error}"
