"""Sizes of pictures without decoding them, where their headers are whole."""

from __future__ import annotations

import warnings

from compress.device.errors import ImageError
from compress.device.image_file import image_size, open_image


def picture_size(value: str | bytes, *, whole: bool = False) -> tuple[int, int]:
    """(width, height) of an image file (path or content), in pixels; `whole`: it is decoded to the end. Raises: ImageError."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters of them is an error here
        return open_image(value).size if whole else image_size(value)


def are_pictures(values: list[str] | list[bytes], *, most: float) -> bool:
    """Whether at least the share `most` of the first of these files are images."""
    some, known = values[:20], 0
    for value in some:
        try:
            picture_size(value)
            known += 1
        except ImageError:
            continue
    return known >= most * len(some)
