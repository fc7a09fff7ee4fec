"""An image in the form of a port: sizes, cuts, resampling, and the same pixels in training and on a device."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.data.rows import Distinct
from compress.device.errors import DeviceError
from compress.device.image_file import READ
from compress.device.modalities.image import NEUTRAL, RESAMPLINGS, RESIZES, decode, fit, read
from compress.modalities.pixels import write_images


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth random colours between 40 and 215, so that no filter overshoots 0 or 255."""
    small = np.random.default_rng(seed).integers(40, 216, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def port(height: int, width: int, **reading: object) -> dict:
    return {"name": "image", "dtype": "uint8", "shape": [height, width, 3], "reading": reading or None}


@pytest.mark.parametrize("resize", RESIZES)
def test_image_of_the_right_size_keeps_its_pixels(resize: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(fit(Image.fromarray(noise), height=8, width=8, resize=resize, resampling="lanczos"), noise)


def test_stretch_gives_up_proportions() -> None:
    halves = np.zeros((40, 80, 3), np.uint8)
    halves[:, 40:] = 255
    found = fit(Image.fromarray(halves), height=20, width=20)
    assert (found[:, :9] == 0).all() and (found[:, 11:] == 255).all()


def test_crop_keeps_the_centre_of_the_longer_side() -> None:
    columns = np.repeat(np.arange(80, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)  # 40 x 80, each pixel its column's number
    found = fit(Image.fromarray(columns), height=20, width=20, resize="crop")  # halved to 20 x 40, then columns 10 to 29
    assert found[0, :, 0].tolist() == pytest.approx([2 * (10 + i) + 0.5 for i in range(20)], abs=1)


def test_crop_of_an_edge_cuts_the_centre_of_what_it_leaves() -> None:
    columns = np.repeat(np.arange(80, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    found = fit(Image.fromarray(columns), height=16, width=16, resize="crop", edge=20)  # 20 x 40, then columns 12 to 27
    assert found[0, :, 0].tolist() == pytest.approx([2 * (12 + i) + 0.5 for i in range(16)], abs=1)


def test_stretch_with_an_edge_cuts_the_centre_of_that_square() -> None:
    columns = np.repeat(np.arange(80, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    found = fit(Image.fromarray(columns), height=16, width=16, edge=20)  # 20 x 20 at 4 columns a pixel, then 2 to 17
    assert found[0, :, 0].tolist() == pytest.approx([4 * (2 + i) + 1.5 for i in range(16)], abs=1)


def test_pad_shows_the_whole_image_on_neutral_grey() -> None:
    found = fit(Image.new("RGB", (80, 40), (255, 0, 0)), height=20, width=20, resize="pad")
    assert (found[:5] == NEUTRAL).all() and (found[15:] == NEUTRAL).all() and (found[5:15] == (255, 0, 0)).all()


def test_crop_and_pad_fill_any_rectangle() -> None:
    for resize in ("crop", "pad"):
        for size in ((64, 200), (200, 64), (65, 65), (1, 500), (500, 1)):
            assert fit(picture(*size), height=24, width=37, resize=resize).shape == (24, 37, 3)
    assert (fit(Image.new("RGB", (500, 30), (9, 9, 9)), height=24, width=37, resize="crop") == 9).all()


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize("size", [(300, 400), (500, 333), (90, 60), (257, 1000)])
def test_cut_is_that_of_an_image_resized_whole(size: tuple[int, int], resampling: str) -> None:
    image = picture(*size)
    height, width = (96, int(96 * size[1] / size[0])) if size[0] <= size[1] else (int(96 * size[0] / size[1]), 96)
    whole = np.asarray(image.resize((width, height), Image.Resampling[resampling.upper()])).astype(int)
    top, left = (height - 64) // 2, (width - 64) // 2
    found = fit(image, height=64, width=64, resize="crop", resampling=resampling, edge=96)
    difference = abs(found.astype(int) - whole[top : top + 64, left : left + 64])
    if resampling == "nearest":  # a sample between two pixels may fall to either
        assert (difference > 0).mean() < 0.02
    else:
        assert difference.max() <= 2


def test_reductions_are_antialiased() -> None:
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")  # averages to grey
    for resampling in ("bilinear", "bicubic", "lanczos"):
        assert abs(fit(board, height=8, width=8, resampling=resampling).astype(int) - 127).max() < 20
    assert set(np.unique(fit(board, height=8, width=8, resampling="nearest"))) <= {0, 255}


def test_long_image_needs_no_memory_for_what_is_cut_off() -> None:
    line = Image.new("RGB", (65_535, 1), (10, 20, 30))  # whole, with its shorter side at 224: 224 x 14,679,840
    assert (fit(line, height=224, width=224, resize="crop") == (10, 20, 30)).all()


@pytest.mark.parametrize("options", [{"resize": "fill"}, {"resampling": "cubic"}, {"edge": 7}, {"resize": "pad", "edge": 16}])
def test_options_that_do_not_exist_or_agree_are_refused(options: dict) -> None:
    with pytest.raises(DeviceError):
        fit(picture(8, 8), height=8, width=8, **options)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("kind", READ)
def test_training_and_device_have_the_same_pixels(kind: str, resize: str, tmp_path: Path) -> None:
    modes, cells = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"), []
    for mode in modes:
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        image = picture(37, 53).convert("L").convert("I").convert(mode) if mode == "I;16" else picture(37, 53).convert("RGBA").convert(mode)
        try:
            image.save(file, kind, **({} if kind in ("GIF", "BMP", "PPM") else {"exif": exif}))
        except (OSError, ValueError):
            continue  # the format has no such mode
        (tmp_path / f"{len(cells)}").write_bytes(file.getvalue())
        cells.append(file.getvalue())
    assert len(cells) > 2
    form = {"height": 16, "width": 16, "resize": resize, "resampling": "bicubic", "edge": None}
    inputs = Distinct(pa.array(cells), pa.chunked_array([cells]), np.arange(len(cells)))
    assert write_images(inputs, {tmp_path / "a.npy": form}, threads=2) == {}
    trained = np.load(tmp_path / "a.npy")
    for index in range(len(cells)):
        device = read(tmp_path / str(index), port(16, 16, resize=resize, resampling="bicubic", edge=None), tmp_path)
        assert device.dtype == np.uint8 and np.array_equal(device[0], trained[index])


def test_port_without_a_reading_is_stretched_bilinear(tmp_path: Path) -> None:
    picture(30, 50).save(tmp_path / "a.png")
    wanted = decode(tmp_path / "a.png", height=8, width=12, resize="stretch", resampling="bilinear")
    assert np.array_equal(read(tmp_path / "a.png", port(8, 12), tmp_path), wanted[None])
    assert np.array_equal(read((tmp_path / "a.png").read_bytes(), {"shape": [8, 12, 3]}, tmp_path), wanted[None])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing.png", "nothing.png: missing file; give --image a whole PNG or JPEG file"),
        (b"abc", "<3 bytes>: not an image: it begins with b'abc'; give --image"),
    ],
)
def test_device_refuses_in_one_line(value: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        read(value, port(8, 8), tmp_path)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
