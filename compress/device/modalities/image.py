"""An image, a path, a file's content or pixels, as RGB pixels for a port (H, W, 3) uint8: the same code in training and on a device."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError, ImageError
from ..image_file import MAX_PIXELS, open_image, pillow

OPTION, HELP = "--image", "image file, any size"
ASSETS: tuple[str, ...] = ()
PACKAGES = ("pillow>=11.3",)  # the first with AVIF, the last for Python 3.9
EXAMPLE = '"picture.png"'

RESIZES = ("stretch", "crop", "pad")
RESAMPLINGS = ("nearest", "bilinear", "bicubic", "lanczos")
NEUTRAL = 128  # what `pad` puts around an image: zero for a student, whose pixels are centred there


def read(value: Any, port: dict[str, Any], folder: Path) -> np.ndarray:
    """(1, H, W, 3) uint8 in the form that the port's `reading` says; raises DeviceError if Pillow is missing or the file gives no image."""
    height, width, _ = port["shape"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters of them is an error here
        try:
            return decode(value, height=height, width=width, **(port.get("reading") or {}))[None]
        except ImageError as error:
            shown = (
                f"<{len(value):,} bytes>" if isinstance(value, (bytes, bytearray)) else "array" if isinstance(value, np.ndarray) else value
            )
            raise DeviceError(f"{shown}: {error}; give {OPTION} a whole PNG or JPEG file") from error


def decode(
    value: str | Path | bytes | np.ndarray,
    *,
    height: int,
    width: int,
    resize: str = "stretch",
    resampling: str = "bilinear",
    edge: int | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8 of a path, a file's content or pixels, such as a camera's, brought to that size as `fit` says.

    Raises: ImageError, DeviceError without Pillow.
    """
    image = pillow().fromarray(_pixels(value)) if isinstance(value, np.ndarray) else open_image(value)
    return fit(image, height=height, width=width, resize=resize, resampling=resampling, edge=edge)


def fit(
    image: Any,
    *,
    height: int,
    width: int,
    resize: str = "stretch",
    resampling: str = "bilinear",
    edge: int | None = None,
    around: int | tuple[int, ...] = (NEUTRAL,) * 3,
) -> np.ndarray:
    """(H, W, 3) uint8 of a PIL image in mode RGB; one that has the size already keeps its pixels. Reductions are antialiased.

    stretch: proportions are not kept. crop: the shorter side to the size, then the centre is cut out. pad: the whole image in the middle of
    a neutral colour, `around`. `edge`: what is cut out is the centre of a larger image, of that shorter side (crop) or of that square (stretch).
    """
    Image = pillow()
    if resize not in RESIZES or resampling not in RESAMPLINGS:
        raise DeviceError(f"resize {resize!r} with {resampling!r}: there are {', '.join(RESIZES)} with {', '.join(RESAMPLINGS)}")
    if edge is not None and (resize == "pad" or edge < max(height, width)):
        raise DeviceError(f"edge {edge} with {resize} to {height} x {width}: an edge is at least the size, and nothing is cut from pad")
    whole = _size_before_cut(image.size, height=height, width=width, resize=resize, edge=edge)
    inner = (min(width, whole[0]), min(height, whole[1]))
    if whole != image.size or inner != image.size:
        left, top, right, bottom = _centre(image.size, whole, inner)  # only what stays is resized, so that a long image needs no memory
        method = Image.Resampling[resampling.upper()]
        # Across, then down, in two calls: in one, Pillow 13 begins with the longer side, so its pixels would differ from those of Pillow 11.
        image = image.resize((inner[0], image.height), method, box=(left, 0, right, image.height))
        image = image.resize(inner, method, box=(0, top, inner[0], bottom))
    if inner != (width, height):
        canvas = Image.new(image.mode, (width, height), around)
        canvas.paste(image, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        image = canvas
    return np.asarray(image, dtype=np.uint8)


def place_of(
    size: tuple[int, int], *, side: int, resize: str = "stretch", edge: int | None = None
) -> tuple[tuple[float, float, float, float], tuple[float, float, float, float]]:
    """Which part (left, top, right, bottom) of a picture of that (width, height) `fit` brings into a square, and which part of the square it
    is there."""
    whole = _size_before_cut(size, height=side, width=side, resize=resize, edge=edge)
    inner = (min(side, whole[0]), min(side, whole[1]))
    left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
    return _centre(size, whole, inner), (left, top, left + inner[0], top + inner[1])


def _pixels(array: np.ndarray) -> np.ndarray:
    """The array, if it is pixels; anything else would be turned into a picture of something else."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not 0 < array.shape[0] * array.shape[1] <= MAX_PIXELS:
        raise ImageError("not an image", f"{array.dtype} of shape {array.shape}; pixels are RGB, (H, W, 3) uint8")
    return np.ascontiguousarray(array)


def _size_before_cut(size: tuple[int, int], *, height: int, width: int, resize: str, edge: int | None) -> tuple[int, int]:
    """(width, height) of the whole image once it is resized."""
    if resize == "stretch":
        return (edge, edge) if edge else (width, height)
    scales = (width / size[0], height / size[1])
    if resize == "pad":
        return (max(1, round(size[0] * min(scales))), max(1, round(size[1] * min(scales))))
    if edge is None and height != width:  # the smallest that covers all
        return (max(width, int(size[0] * max(scales))), max(height, int(size[1] * max(scales))))
    edge = edge or width
    longer = int(edge * max(size) / min(size))  # rounded down, as torchvision and transformers do
    return (edge, longer) if size[0] <= size[1] else (longer, edge)


def _centre(size: tuple[int, int], whole: tuple[int, int], inner: tuple[int, int]) -> tuple[float, float, float, float]:
    """What part (left, top, right, bottom) of an image becomes `inner`, the centre of `whole`; all sizes are (width, height)."""
    start = [(w - i) // 2 for w, i in zip(whole, inner)]
    low = [first * s / w for first, s, w in zip(start, size, whole)]
    high = [min(s, (first + i) * s / w) for first, i, s, w in zip(start, inner, size, whole)]
    return (low[0], low[1], high[0], high[1])
