"""Raw images and texts to the arrays that a model reads, the same as in training: pixels stay uint8 and the graph does the arithmetic.

Pillow and tokenizers are imported only when an image or a text comes in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .errors import DeviceError

PADDING = "[PAD]"  # the padding token of a tokenizer.json that names none


def read_image(path: Path, *, height: int, width: int) -> np.ndarray:
    """One image as RGB pixels (1, H, W, 3) uint8, resized (bilinear, antialiased) only where its size differs.

    Raises DeviceError if Pillow is missing or the file is no readable image.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DeviceError(f"images need the package pillow ({error}): pip install pillow") from error
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except FileNotFoundError:
        raise DeviceError(f"{path}: no such image; check --image") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # what Pillow's decoders raise
        raise DeviceError(f"{path}: not a readable image ({error}); give a PNG or JPEG file") from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)[None]  # (1, H, W, 3)


def open_tokenizer(path: Path, *, length: int) -> Any:
    """The tokenizers.Tokenizer of a tokenizer.json, set to cut and pad to `length` tokens; raises DeviceError if it cannot be used."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise DeviceError(f"texts need the package tokenizers ({error}): pip install tokenizers") from error
    if not path.is_file():
        raise DeviceError(f"{path}: no such file; the model reads text, so the bundle needs its tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for a malformed file
        raise DeviceError(f"{path}: not a tokenizer ({error}); copy the bundle again") from error
    token = (tokenizer.padding or {}).get("pad_token") or PADDING
    number = tokenizer.token_to_id(token)
    if number is None:
        raise DeviceError(f"{path}: has no padding token {token!r}; the bundle was built with another tokenizer")
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=number, pad_token=token)
    return tokenizer


def encode_text(tokenizer: Any, text: str, *, high: float | None = None) -> np.ndarray:
    """Token ids (1, T) int64 of one text; `high` is the largest id that the model knows.

    Raises DeviceError for a text with nothing in it, or an id above `high`.
    """
    if not text.strip():
        raise DeviceError("the question is empty; give --question some words")
    ids = np.asarray([tokenizer.encode(text).ids], dtype=np.int64)  # (1, T)
    if high is not None and ids.max() > high:
        raise DeviceError(f"token id {ids.max()} is above the model's largest, {high:.0f}; tokenizer and model do not belong together")
    return ids
