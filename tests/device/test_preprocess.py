"""Raw images and texts to arrays, the same as in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.tokens import tokenize
from compress.device.errors import DeviceError
from compress.device.preprocess import encode_text, open_tokenizer, read_image


def test_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", height=8, width=12)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels[None])


def test_image_of_another_size_is_resized_bilinear(picture: Path) -> None:
    with Image.open(picture) as image:
        expected = np.asarray(image.resize((12, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(picture, height=8, width=12), expected[None])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_image_of_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff", height=8, width=8).shape == (1, 8, 8, 3)


def test_image_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"a\.png: no such image"):
        read_image(tmp_path / "a.png", height=8, width=8)


@pytest.mark.parametrize("cut", [0, 10, 100], ids=["empty", "header", "pixels"])
def test_image_unreadable_is_named(tmp_path: Path, picture: Path, cut: int) -> None:
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:cut])
    with pytest.raises(DeviceError, match=r"cut\.png: not a readable image"):
        read_image(tmp_path / "cut.png", height=8, width=8)


def test_image_that_is_a_bomb_is_refused(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DeviceError, match="not a readable image .*exceeds limit"):
        read_image(picture, height=8, width=8)


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
