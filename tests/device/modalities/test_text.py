"""Raw texts to token ids, the same as in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.device.errors import DeviceError
from compress.device.modalities.text import encode_text, open_tokenizer
from compress.modalities.tokens import tokenize


@pytest.mark.parametrize("text", ["what colour is the square ?", "what", "what what what what what what what what", "unheard words"])
def test_text_gives_the_ids_of_training(bundle: Path, text: str) -> None:
    path = bundle / "tokenizer.json"
    ids = encode_text(open_tokenizer(path, length=6), text)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, tokenize(path, [text], 6))


def test_text_is_padded_with_zeros(bundle: Path) -> None:
    assert encode_text(open_tokenizer(bundle / "tokenizer.json", length=6), "what colour").tolist() == [[2, 3, 0, 0, 0, 0]]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_text_empty_is_refused(bundle: Path, text: str) -> None:
    with pytest.raises(DeviceError, match="the question is empty"):
        encode_text(open_tokenizer(bundle / "tokenizer.json", length=6), text)


def test_text_with_an_unknown_id_is_refused(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="token id 7 is above the model's largest, 6"):
        encode_text(open_tokenizer(bundle / "tokenizer.json", length=6), "red", high=6)


def test_tokenizer_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"tokenizer\.json: no such file"):
        open_tokenizer(tmp_path / "tokenizer.json", length=6)


def test_tokenizer_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DeviceError, match=r"tokenizer\.json: not a tokenizer"):
        open_tokenizer(tmp_path / "tokenizer.json", length=6)


def test_tokenizer_without_padding_token_is_refused(bundle: Path, tmp_path: Path) -> None:
    text = (bundle / "tokenizer.json").read_text().replace("[PAD]", "[NONE]")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(DeviceError, match=r"has no padding token '\[PAD\]'"):
        open_tokenizer(tmp_path / "tokenizer.json", length=6)
