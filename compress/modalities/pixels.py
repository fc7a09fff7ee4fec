"""Image files to memory-mapped pixels: RGB, squares, uint8, decoded by the code that ships (compress/device/image_file.py).

Nothing but the images in work is held in memory: one of 64 megapixels takes up to 1.2 GB, in each of the threads.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from compress.device.errors import ImageError
from compress.device.image_file import open_image
from compress.device.modalities.image import fit
from compress.modalities.modality import Failures, Inputs
from compress.store.arrays import allocate

BLOCK = 64  # images a thread takes at a time


def decode_image(value: str | bytes, *, forms: list[dict[str, Any]]) -> list[np.ndarray]:
    """One image file (path or content), decoded once, as (H, W, 3) uint8 in each of these forms, the options of `fit`. Raises: ImageError."""
    image = open_image(value)
    return [fit(image, **form) for form in forms]


def write_images(images: Inputs, files: dict[Path, dict[str, Any]], *, threads: int) -> Failures:
    """Decodes each of the N images once and writes it to every file: .npy, (N, H, W, 3) uint8, in the form that is the file's value.

    Returns the images that could not be read, by index: reason and detail. Their pixels are 0.
    """
    forms = list(files.values())
    maps = [allocate(path, (len(images), form["height"], form["width"], 3), np.uint8) for path, form in files.items()]

    def write(start: int) -> Failures:
        failed = {}
        for index in range(start, min(start + BLOCK, len(images))):
            try:
                decoded = decode_image(images.value(index), forms=forms)
            except ImageError as error:
                failed[index] = (error.reason, images.shown(index) + (f": {error.detail}" if error.detail else ""))
            else:
                for pixels, image in zip(maps, decoded, strict=True):
                    pixels[index] = image
        return failed

    failures: Failures = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module="PIL")  # what matters of them is an error here, reported with its row
        for failed in pool.map(write, range(0, len(images), BLOCK)):
            failures.update(failed)
    for pixels in maps:
        pixels.flush()
    return failures
