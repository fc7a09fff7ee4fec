"""Copies of pictures are found, other pictures are not."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.modalities.near_images import hash_images, near_images, shrink


def paint(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """(count, size, size, 3) uint8: smooth coloured scenes, each of its own noise at several scales."""
    draw = np.random.default_rng(seed)
    scenes = np.zeros((count, size, size, 3))
    for cells in (2, 4, 8, 16):
        coarse = draw.normal(size=(count, cells, cells, 3))
        scenes += coarse.repeat(size // cells, 1).repeat(size // cells, 2) * 30 / cells**0.5
    return np.clip(128 + scenes, 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    whole = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((size, size)).resize(whole))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": lambda pixels: pixels,
    "encoded again": lambda pixels: encode(pixels, 75),
    "resized": lambda pixels: resize(pixels, 40),
    "brighter": lambda pixels: np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8),
    "all of it": lambda pixels: np.clip(resize(encode(pixels, 80), 48) * 1.05, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copy_is_found_in_another_split(copy: str, tmp_path: Path) -> None:
    train, test = paint(40), paint(10, seed=1)
    test[3] = COPIES[copy](train[17])
    assert near_images([train, test], tmp_path).tolist() == [[17, 43]]


@pytest.mark.parametrize("size", [8, 30, 64])
def test_other_pictures_are_not_near(size: int, tmp_path: Path) -> None:
    scenes = np.stack([resize(scene, size)[:: 64 // size][:size, :size] for scene in paint(300)])
    assert len(near_images([scenes], tmp_path)) == 0


def test_flat_pictures_match_by_colour_alone(tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (200, 0, 0), (190, 0, 0), (0, 0, 0), (255, 255, 255)]
    flat = np.array(colours, np.uint8)[:, None, None, :].repeat(16, 1).repeat(16, 2)
    assert near_images([flat], tmp_path).tolist() == [[0, 2]]


def test_same_shape_in_another_colour_is_not_near(tmp_path: Path) -> None:
    drawn = np.full((2, 64, 64, 3), 240, np.uint8)
    drawn[0, 20:40, 20:40], drawn[1, 20:40, 20:40] = (200, 30, 30), (30, 30, 200)
    assert len(near_images([drawn], tmp_path)) == 0


def test_family_is_linked_though_it_is_larger_than_the_window(tmp_path: Path) -> None:
    pairs = near_images([paint(1).repeat(100, 0)], tmp_path)
    reached = {0}
    for first, second in pairs.tolist() * 3:
        if {first, second} & reached:
            reached |= {first, second}
    assert len(reached) == 100 and len(pairs) <= 100 * 8 * 16


def test_hash_is_the_sign_of_frequencies_about_their_median() -> None:
    side = np.arange(32) + 0.5
    wave = np.cos(np.pi * 3 * side / 32)  # frequency 3 across, 0 down: bit 3 of row 0, first bit is the mean brightness
    pixels = np.rint(128 + 100 * wave)[None, None, :, None].repeat(32, 1).repeat(3, 3).astype(np.uint8)
    bits = np.unpackbits(hash_images(pixels).astype(">u8").view(np.uint8)).reshape(8, 8)
    assert bits[0, 0] == 1 and bits[0, 3] == 1


def test_shrunk_cells_are_means_of_parts_of_pixels() -> None:
    pixels = np.array([0, 90, 30], np.uint8)[None, None, :, None].repeat(3, 1).repeat(3, 3)  # (1, 3, 3, 3), columns 0, 90, 30
    # two cells of 1.5 pixels: (0 + 90 / 2) / 1.5 = 30 and (90 / 2 + 30) / 1.5 = 50
    assert shrink(pixels, 2)[0, :, 0].tolist() == [30, 50, 30, 50]


def test_memory_does_not_hold_the_images(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(2_000, 224, 224, 3))  # 301 MB of zeros, not on the disk
    images[0] = paint(1, 224)[0]
    images.flush()
    tracemalloc.start()
    near_images([images], tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
