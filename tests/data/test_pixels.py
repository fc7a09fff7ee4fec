"""Image files to arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.data.pixels import decode_image, keep_images, write_images
from compress.data.rows import Distinct
from compress.device.preprocess import read_image


def test_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(decode_image(str(tmp_path / "a.png"), sizes=(8,))[0], pixels)


def test_image_is_resized_to_each_size(make_png: Callable) -> None:
    small, large = decode_image(make_png((9, 8, 7)), sizes=(4, 32))
    assert small.shape == (4, 4, 3) and large.shape == (32, 32, 3) and (large == [9, 8, 7]).all()


def test_reduction_is_antialiased(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)  # a fine chequerboard averages to grey; without filter it stays black or white
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    assert abs(decode_image(str(tmp_path / "a.png"), sizes=(8,))[0].astype(int) - 127).max() < 20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    assert (decode_image(str(path), sizes=(8,))[0] == 255).all()


def test_training_and_device_read_an_image_alike(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8), "RGBA")
    noise.save(tmp_path / "a.png")
    (here,) = decode_image(str(tmp_path / "a.png"), sizes=(16,))
    assert np.array_equal(here, read_image(tmp_path / "a.png", height=16, width=16)[0])


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_damage_anywhere_in_a_file_is_reported(suffix: str, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    noise.save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    cuts = [content[:length] for length in range(0, len(content), max(len(content) // 40, 1))]
    failed = write_images(Distinct(pa.array(cuts), pa.chunked_array([cuts]), np.arange(len(cuts))), {tmp_path / "a.npy": 8}, threads=2)
    assert {reason for reason, _ in failed.values()} == {"broken image"}
    assert len(failed) > len(cuts) // 2  # some formats end with bytes that no decoder needs


def test_write_images_fills_every_block(tmp_path: Path, make_png: Callable) -> None:
    paths = []
    for index in range(150):
        paths.append(str(tmp_path / f"{index}.png"))
        Path(paths[-1]).write_bytes(make_png((index, 0, 0), (8, 8)))
    Path(paths[70]).unlink()
    failed = write_images(Distinct(pa.array(paths)), {tmp_path / "a.npy": 8}, threads=3)
    assert failed == {70: ("missing file", paths[70])}
    reds = np.load(tmp_path / "a.npy", mmap_mode="r")[:, 4, 4, 0]
    assert reds.tolist() == [0 if index == 70 else index for index in range(150)]
    keep_images(tmp_path / "a.npy", np.array([1, 69, 71, 149]))
    assert np.load(tmp_path / "a.npy")[:, 0, 0, 0].tolist() == [1, 69, 71, 149]
    assert not list(tmp_path.glob("*.part"))
