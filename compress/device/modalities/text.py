"""A text as token ids for a port (T,) int64, by the tokenizer that ships with the model. The package tokenizers is imported on first use.

Where the port's reading has `words`, the id of the first token of each word (what stands between spaces) is negative, so that a model knows its words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError

OPTION, HELP = "--question", "text"
ASSETS = ("tokenizer.json",)
PACKAGES = ("tokenizers",)
EXAMPLE = '"what is it?"'
PADDING = "[PAD]"  # the padding token of a tokenizer.json that names none


def read(value: Any, port: dict[str, Any], folder: Path) -> np.ndarray:
    """(1, T) int64; raises DeviceError for a text with nothing in it, or a tokenizer that is not the model's."""
    return opened(port, folder)(value)


def opened(port: dict[str, Any], folder: Path) -> Callable[[Any], np.ndarray]:
    """`read` with the tokenizer open, as a function of the text."""
    tokenizer = open_tokenizer(folder / ASSETS[0], length=port["shape"][0])
    encode = encode_words if (port.get("reading") or {}).get("words") else encode_text
    return lambda value: encode(tokenizer, _text(value), high=port["high"])


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
    return _checked(np.asarray([tokenizer.encode(text).ids], dtype=np.int64), high)  # (1, T)


def encode_words(tokenizer: Any, text: str, *, high: float | None = None) -> np.ndarray:
    """As `encode_text`, with the first token of each word negative. A word that the tokenizer drops, such as a control character, is read as "?"."""
    words = text.split()
    if not words:
        raise DeviceError("the question is empty; give --question some words")
    found = tokenizer.encode(words, is_pretokenized=True)
    read = {word for word in found.word_ids if word is not None}
    if lost := set(range(max(read, default=len(words) - 1))) - read:
        found = tokenizer.encode(["?" if place in lost else word for place, word in enumerate(words)], is_pretokenized=True)
    ids, seen = np.asarray([found.ids], dtype=np.int64), -1
    for place, word in enumerate(found.word_ids):
        if word is not None and word > seen:
            ids[0, place], seen = -ids[0, place], word
    return _checked(ids, high)


def _checked(ids: np.ndarray, high: float | None) -> np.ndarray:
    if high is not None and np.abs(ids).max() > high:
        raise DeviceError(
            f"token id {np.abs(ids).max()} is above the model's largest, {high:.0f}; tokenizer and model do not belong together"
        )
    return ids


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DeviceError(f"the text is no UTF-8 ({error})") from error
    if isinstance(value, (list, tuple)) and value and all(isinstance(word, str) for word in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise DeviceError(f"a text is a string or token ids of the model's length, found {type(value).__name__}")
    return value
