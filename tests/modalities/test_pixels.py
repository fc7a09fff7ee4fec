"""Image files to memory-mapped pixels, in one or more forms."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.data.rows import Distinct
from compress.modalities.pixels import decode_image, write_images


def form(size: int, **options: object) -> dict:
    return {"height": size, "width": size, **options}


def make_png(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    """The file of an image of one colour; size: (width, height)."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def contents(cells: list[bytes]) -> Distinct:
    return Distinct(pa.array(cells), pa.chunked_array([cells]), np.arange(len(cells)))


def test_image_is_brought_to_each_form() -> None:
    small, large, padded = decode_image(make_png((9, 8, 7), (6, 3)), forms=[form(4), form(32, resize="crop"), form(6, resize="pad")])
    assert small.shape == (4, 4, 3) and large.shape == (32, 32, 3) and (large == [9, 8, 7]).all()
    assert padded.shape == (6, 6, 3) and {tuple(pixel) for pixel in padded.reshape(-1, 3).tolist()} == {(9, 8, 7), (128, 128, 128)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "avif", "ppm"])
def test_damage_anywhere_in_a_file_is_reported(suffix: str, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    noise.save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    cuts = [content[:length] for length in range(0, len(content), max(len(content) // 40, 1))]
    failed = write_images(contents(cuts), {tmp_path / "a.npy": form(8)}, threads=2)
    assert {reason for reason, _ in failed.values()} <= {"broken image", "not an image"}
    assert len(failed) > len(cuts) // 2  # some formats end with bytes that no decoder needs


def test_each_failure_has_its_reason_and_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(make_png((1, 2, 3))[:-30])
    (tmp_path / "folder.png").mkdir()
    paths = [str(tmp_path / name) for name in ("text.png", "cut.png", "folder.png", "nothing.png")]
    failed = write_images(Distinct(pa.array(paths)), {tmp_path / "a.npy": form(8)}, threads=1)
    assert [reason for reason, _ in failed.values()] == ["not an image", "broken image", "not a regular file", "missing file"]
    assert failed[2][1] == f"{paths[2]}: a folder" and failed[3][1] == paths[3]
    assert failed[0][1] == f"{paths[0]}: it begins with b'hello'"


def test_write_images_fills_every_block(tmp_path: Path) -> None:
    paths = []
    for index in range(150):
        paths.append(str(tmp_path / f"{index}.png"))
        Path(paths[-1]).write_bytes(make_png((index, 0, 0), (8, 8)))
    Path(paths[70]).unlink()
    failed = write_images(Distinct(pa.array(paths)), {tmp_path / "a.npy": form(8), tmp_path / "b.npy": form(16)}, threads=3)
    assert failed == {70: ("missing file", paths[70])}
    for file in ("a.npy", "b.npy"):
        reds = np.load(tmp_path / file, mmap_mode="r")[:, 4, 4, 0]
        assert reds.tolist() == [0 if index == 70 else index for index in range(150)]


def test_warnings_of_the_decoder_are_not_shown(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\0\0\0\0")  # an EXIF block that ends too soon
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_images(contents([file.getvalue()]), {tmp_path / "a.npy": form(8)}, threads=2) == {}
