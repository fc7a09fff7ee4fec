"""An image file as users have it, a path or its content, as a PIL image in mode RGB. Pillow is imported on first use.

The pixels are those that a viewer shows: turned as EXIF says, on white where the image is transparent, 16 bits brought to 8, of several
frames or pages the first. Colour profiles are not applied. Any file ends as an image or as one ImageError, in bounded memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import DeviceError, ImageError
from .feeds import first_line
from .plain_file import format_of, open_plain

MAX_PIXELS = 64 * 2**20  # 64 megapixels, binary: a phone's 64-megapixel sensor has 9248 x 6936, a little more than 64 million
MAX_SIDE = 65_535  # JPEG's own limit; a resize needs memory by the longer side, a gigabyte for 64 million pixels in one row
MAX_BYTES = 512 * 2**20  # of a file: what 64 megapixels take at 8 bytes each; some decoders read the whole file at once

MAX_SCANS = 64  # passes of a progressive JPEG over as many pixels as are allowed, 5 seconds; cameras and editors write about 10
MAX_SLOW_PIXELS = (
    MAX_PIXELS // 16
)  # of a PPM that Pillow decodes in Python, about 1 microsecond a pixel: as text, or with a depth of its own
HEADER = 4096  # bytes of a PPM's header, comments included

READ = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")  # Pillow opens more, and some of that runs other programs (EPS)
SIGNATURES = {  # format -> how its files begin
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,12}avi[fs])",
    "BMP": rb"BM",
    "PPM": rb"P[1-6f]\s",
    "HEIC": rb".{4}ftyp(hei[cmsx]|hev[cmsx]|m[is]f1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "PSD": rb"8BPS",
    "ICO": rb"\0\0[\1\2]\0",
    "DDS": rb"DDS ",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "SVG": rb"\s*<(svg|\?xml)",
}

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_TURNS = {  # EXIF orientation -> member of Image.Transpose that undoes it
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def open_image(value: str | Path | bytes) -> Any:
    """A PIL image in mode RGB, in its full size. Raises: ImageError for any file that gives none, DeviceError without Pillow."""
    return _look(value, _pixels)


def image_size(value: str | Path | bytes) -> tuple[int, int]:
    """(width, height) in pixels as the header has them, not turned; what follows it is not decoded. Raises as `open_image`."""
    return _look(value, lambda image, file: image.size)


def shown_size(value: str | Path | bytes) -> tuple[int, int]:
    """The same as a viewer shows it, turned as EXIF says."""
    return _look(value, lambda image, file: image.size[:: -1 if _orientation(image) >= 5 else 1])


def open_mask(value: str | Path | bytes) -> np.ndarray:
    """(H, W) uint8: the numbers that a file without loss holds, one a pixel, such as places in a palette. Raises as `open_image`."""
    return _look(value, _numbers)


def _look(value: str | Path | bytes, take: Callable[[Any, BinaryIO], Any]) -> Any:
    """What `take` makes of the opened image and its file."""
    Image = pillow()
    with open_plain(value, error=ImageError, most=MAX_BYTES) as file:
        name = _format_of(file)
        try:
            if name == "PPM":
                _check_header(file)
            with Image.open(file, formats=[name]) as image:
                return take(image, file)
        except ImageError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError("image too large", f"its header asks for many more than {MAX_PIXELS:,} pixels") from error
        except MemoryError as error:
            raise ImageError("image too large", "there is no memory to decode it") from error
        except Image.UnidentifiedImageError as error:
            raise ImageError("broken image", f"what follows the first bytes is no {name} that can be read") from error
        except Exception as error:  # decoders of foreign files raise whatever they stumble over: SyntaxError, KeyError, RuntimeError ...
            raise ImageError("broken image", f"{name}: {first_line(error)}") from error


def pillow() -> Any:
    """The module PIL.Image; raises DeviceError where it is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DeviceError(f"images need the package pillow ({error}): pip install pillow") from error
    return Image


def _format_of(file: BinaryIO) -> str:
    """The format that the first bytes tell; raises ImageError unless it is one that is read here."""
    name = format_of(file, SIGNATURES, read=READ, error=ImageError)
    if name in ("WEBP", "AVIF"):  # left out of some builds of Pillow
        from PIL import __version__, features

        if not features.check(name.lower()):
            raise ImageError("unsupported format", f"{name} is not in Pillow {__version__} here; install pillow 11.3 or later")
    return name


def _pixels(image: Any, file: BinaryIO) -> Any:
    """The first frame in mode RGB, turned as EXIF says."""
    _check_size(image)
    packing = str(image.tile[0][3]) if image.tile else ""  # how a pixel lies in the file; gone once it is loaded
    _check_time(file, image)
    image.load()
    shown, turn = _on_white(image, packing), _TURNS.get(_orientation(image))
    return shown.transpose(pillow().Transpose[turn]) if turn else shown


def _numbers(image: Any, file: BinaryIO) -> np.ndarray:
    """The first frame's numbers as they are."""
    _check_size(image)
    if image.format in ("JPEG", "MPO", "AVIF"):
        raise ImageError("unsupported format", f"{image.format} changes the numbers of a mask; save it as PNG")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise ImageError("unsupported format", f"a mask has one number a pixel, and this is {image.mode}; save it as PNG, grey or palette")
    image.load()
    numbers = np.asarray(image)
    if numbers.min() < 0 or numbers.max() > 255:
        raise ImageError("unsupported format", f"numbers from {numbers.min()} to {numbers.max()}; a mask has 0 to 255")
    return numbers.astype(np.uint8)


def _check_size(image: Any) -> None:
    """Raises ImageError for an image whose header asks for more memory than the limits allow."""
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limits = f"{MAX_PIXELS:,} pixels or {MAX_SIDE:,} a side"
        raise ImageError("image too large", f"{width:,} x {height:,} pixels, more than {limits}")
    tags = getattr(image, "tag_v2", {})
    if tags.get(322, 1) * tags.get(323, 1) > MAX_PIXELS:  # width and height of a TIFF's tiles: one is decoded whole
        raise ImageError("image too large", f"tiles of {tags[322]:,} x {tags[323]:,} pixels")


def _check_header(file: BinaryIO) -> None:
    """Raises ImageError for a PPM whose header goes on and on: Pillow reads it byte by byte."""
    file.seek(0)
    head = file.read(HEADER)
    words = re.sub(rb"#[^\r\n]*", b"", head).split(maxsplit=4)
    if len(head) == HEADER and len(words) < (3 if words[0] in (b"P1", b"P4") else 4):
        raise ImageError("broken image", f"no size in the first {HEADER:,} bytes of the PPM")


def _check_time(file: BinaryIO, image: Any) -> None:
    """Raises ImageError for an image that would take minutes to decode."""
    pixels = image.width * image.height
    if image.tile and image.tile[0][0] in ("ppm", "ppm_plain") and pixels > MAX_SLOW_PIXELS:
        raise ImageError("image too large", f"{pixels:,} pixels of a PPM of this kind, more than {MAX_SLOW_PIXELS:,}; save it as PNG")
    if image.format in ("JPEG", "MPO"):
        place = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")  # never among the coded pixels
        file.seek(place)
        if scans * pixels > MAX_SCANS * MAX_PIXELS:
            raise ImageError("image too large", f"{scans:,} scans over {pixels:,} pixels")


def _orientation(image: Any) -> int:
    """1 to 8; 1, as it lies, where EXIF does not say, or is damaged: the pixels are whole, and viewers show them."""
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # see open_image
        return 1
    return found if isinstance(found, int) else 1


def _on_white(image: Any, packing: str) -> Any:
    """In mode RGB, with white behind what is transparent."""
    Image = pillow()
    key = image.info.pop("transparency", None) if image.mode != "P" else None
    if image.mode in _ALPHA or "transparency" in image.info:
        clear = image.convert("LA") if image.mode == "La" else image
        clear = clear if clear.mode == "RGBA" else clear.convert("RGBA")  # a conversion to the same mode is a copy, 256 MiB of a large one
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        canvas.paste(clear, mask=clear.getchannel("A"))
        return canvas
    opaque = _opaque(image)
    if key is not None:
        hidden = np.asarray(image) == _colour_key(key, packing)  # (H, W) or (H, W, 3)
        hidden = hidden.all(axis=-1) if hidden.ndim == 3 else hidden
        opaque.paste((255, 255, 255), mask=Image.fromarray(hidden.astype(np.uint8) * 255))
    return opaque


def _colour_key(key: Any, packing: str) -> Any:
    """A PNG's transparent colour in the scale of the pixels: Pillow gives it in that of the file."""
    if packing == "1":
        return bool(key)
    if packing.endswith(";16B") and isinstance(key, tuple):  # of 16 bits only the upper 8 are kept, so a colour near it goes with it
        return [part >> 8 for part in key]
    return np.multiply(key, {"L;2": 85, "L;4": 17}.get(packing, 1))


def _opaque(image: Any) -> Any:
    if image.mode == "F" or image.mode.startswith("I"):
        image = pillow().fromarray(_eight_bits(image))
    return image.convert("RGB")


def _eight_bits(image: Any) -> np.ndarray:
    """(H, W) uint8 of grey values that have more bits. Raises ImageError where it cannot be known which value is white."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (0 <= low and high <= 255) or 1 < high <= 2:  # also not a number
            raise ImageError("unsupported format", f"floats from {low:g} to {high:g}: neither 0 to 1 nor 0 to 255; save it with 8 bits")
        grey = np.rint(values * np.float32(255 if high <= 1 else 1)).astype(np.uint8)
    else:
        bits = {(12, 1): 12, (16, 2): 15}.get((tags.get(258, (16,))[0], tags.get(339, (1,))[0]), 16)  # bits and sign of a TIFF's samples
        if low < 0 or high >= 2**bits:
            raise ImageError("unsupported format", f"integers from {low} to {high}: more than {bits} bits; save it with 8 or 16 bits")
        grey = (values >> (bits - 8)).astype(np.uint8)  # the upper 8, which is what Pillow keeps of 16-bit colours
    return 255 - grey if tags.get(262) == 0 else grey  # a TIFF in which 0 is white: Pillow turns 8 bits, but not these
