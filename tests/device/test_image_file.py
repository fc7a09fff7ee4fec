"""Image files: every format in every mode, against pixels that are computed here by hand; and the one exception that all others end as."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.device.errors import DeviceError, ImageError
from compress.device.image_file import MAX_SIDE, READ, image_size, open_image

LOSSY = {"JPEG": 6, "WEBP": 12, "AVIF": 12}  # format -> levels by which a patch of one colour may differ
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B")
PATCHES = np.array([[[220, 40, 30], [30, 200, 60]], [[20, 60, 210], [240, 240, 10]]], np.uint8)  # red, green / blue, yellow
SIDE = 16  # of a patch: whole blocks of JPEG, so that colours do not run

# EXIF orientation -> how the stored pixels are turned to be seen (TIFF 6.0, tag 274), written with numpy
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),  # the first row stands at the right, so it is turned clockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def patches() -> np.ndarray:
    """(32, 48, 3): four patches, the right ones wider, so that no two orientations look alike."""
    return np.repeat(np.repeat(PATCHES, SIDE, 0), [SIDE, 2 * SIDE], 1)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes | None:
    """The file, or None where the format has no such mode."""
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except (OSError, KeyError, ValueError):
        return None
    return file.getvalue()


def in_mode(mode: str) -> Image.Image:
    rgb = Image.fromarray(patches())
    if mode.startswith("I;16"):
        return Image.fromarray(np.asarray(rgb.convert("L")).astype(">u2" if mode.endswith("B") else "<u2") * 257)
    if mode == "I":
        return Image.fromarray(np.asarray(rgb.convert("L")).astype(np.int32) * 257)
    if mode in ("La", "RGBa"):
        return rgb.convert(mode[:-1] + "A").convert(mode)
    return rgb.convert("RGBA").convert(mode) if mode == "PA" else rgb.convert(mode)


def expected(mode: str) -> np.ndarray:
    """What a viewer shows of `in_mode`: grey where there is no colour (ITU-R 601 luma), black or white for one bit, else the colours."""
    grey = np.rint(patches() @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None].repeat(3, -1)
    return grey if mode in ("L", "LA", "La", "I", "F") or mode.startswith("I;") else patches()


def middles(pixels: np.ndarray) -> np.ndarray:
    """(2, 2, 3) the middle of each patch of an image that is not turned."""
    return pixels[SIDE // 2 :: SIDE][:, [SIDE // 2, 2 * SIDE]].astype(int)


@pytest.mark.parametrize("kind", READ)
def test_every_mode_of_every_format_is_read(kind: str) -> None:
    read = []
    for mode in MODES:
        content = saved(in_mode(mode), kind)
        if content is None:
            continue
        stored = Image.open(io.BytesIO(content)).mode
        if stored in ("1", "P") or mode in ("1", "P", "PA") or kind == "GIF":
            wanted, levels = (
                middles(np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))),
                LOSSY.get(kind, 0),
            )  # few colours: as stored
        elif kind in ("WEBP", "AVIF") and mode in ("I", "I;16", "I;16B"):
            continue  # Pillow's own conversion to 8 bits comes before
        else:
            wanted, levels = middles(expected(mode)), LOSSY.get(kind, {"LAB": 8, "YCbCr": 2}.get(mode, 1))  # 8 bits of LAB are coarse
        found = open_image(content)
        assert found.mode == "RGB" and found.size == (3 * SIDE, 2 * SIDE)
        assert abs(middles(np.asarray(found)) - wanted).max() <= levels, mode
        read.append(mode)
    assert {"1", "L", "RGB"} <= set(read)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(patches()), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert content is not None
    found, wanted = np.asarray(open_image(content)).astype(int), TURNED[orientation](patches()).astype(int)
    assert found.shape == wanted.shape
    assert np.median(abs(found - wanted)) <= (6 if kind in ("JPEG", "AVIF") else 0)


@pytest.mark.parametrize("kind", READ)
def test_size_is_told_without_decoding(kind: str) -> None:
    content = saved(Image.fromarray(patches()), kind)
    assert content is not None
    assert image_size(content) == (3 * SIDE, 2 * SIDE)
    if kind in ("PNG", "JPEG", "BMP", "PPM"):  # of these the header alone says it
        assert image_size(content[: len(content) - 20]) == (3 * SIDE, 2 * SIDE)
    with pytest.raises(ImageError, match="broken image|not an image"):
        image_size(content[:9])


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0"]
)
def test_damaged_exif_leaves_the_image_as_it_lies(exif: bytes) -> None:
    content = saved(Image.fromarray(patches()), "JPEG", exif=exif)
    assert content is not None and open_image(content).size == (3 * SIDE, 2 * SIDE)


def png(width: int, depth: int, colours: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of one row, byte by byte (RFC 2083); colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)


W = (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (png(2, 8, 6, bytes([200, 100, 0, 255, 200, 100, 0, 51])), [(200, 100, 0), (244, 224, 204)]),  # 51/255 = 0.2: 0.2 c + 0.8 * 255
        (png(2, 8, 4, bytes([100, 0, 100, 102])), [W, (193,) * 3]),  # 0.4 * 100 + 0.6 * 255
        (png(1, 16, 4, bytes([200, 7, 0, 0])), [W]),
        (png(2, 16, 0, bytes([128, 0, 255, 255])), [(128,) * 3, W]),  # the upper byte, as of 16-bit colours
        (png(2, 16, 0, bytes([1, 2, 200, 9]), (b"tRNS", b"\1\2")), [W, (200,) * 3]),
        (png(2, 16, 2, bytes([9, 255, 8, 0, 7, 1, 1, 2, 3, 4, 5, 6]), (b"tRNS", b"\1\2\3\4\5\6")), [(9, 8, 7), W]),
        (png(2, 8, 2, bytes([1, 2, 3, 1, 2, 4]), (b"tRNS", b"\0\1\0\2\0\3")), [W, (1, 2, 4)]),
        (png(2, 8, 0, bytes([3, 4]), (b"tRNS", b"\0\3")), [W, (4,) * 3]),
        (png(2, 4, 0, bytes([0x3A]), (b"tRNS", b"\0\3")), [W, (170,) * 3]),  # 4 bits: 3 is the key, 10 is 10 * 17
        (png(4, 2, 0, bytes([0b00011011]), (b"tRNS", b"\0\1")), [(0,) * 3, W, (170,) * 3, W]),  # 2 bits: 85 a step
        (png(2, 1, 0, bytes([0b10000000]), (b"tRNS", b"\0\0")), [W, W]),
        (png(2, 1, 0, bytes([0b10000000]), (b"tRNS", b"\0\1")), [W, (0,) * 3]),
        (
            png(3, 8, 3, bytes([0, 1, 2]), (b"PLTE", bytes([10, 20, 30, 40, 50, 60, 70, 80, 90])), (b"tRNS", bytes([255, 0, 153]))),
            [(10, 20, 30), W, (144, 150, 156)],  # 153/255 = 0.6: 0.6 c + 0.4 * 255
        ),
        (png(2, 8, 3, bytes([0, 1]), (b"PLTE", bytes([10, 20, 30, 40, 50, 60]))), [(10, 20, 30), (40, 50, 60)]),
    ],
)
def test_png_has_the_pixels_computed_by_hand(content: bytes, wanted: list[tuple[int, int, int]]) -> None:
    found = np.asarray(open_image(content))[0].astype(int)
    assert abs(found - np.array(wanted)).max() <= 1


def tiff(values: np.ndarray, *, white_is_zero: bool = False, bits: int = 16, sample: int = 1) -> bytes:
    """A TIFF of one row of grey samples in one strip, byte by byte (TIFF 6.0)."""
    tags = {
        256: len(values),
        257: 1,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        273: 200,
        277: 1,
        278: 1,
        279: values.nbytes,
        339: sample,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items())
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + values.tobytes()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (tiff(np.array([0, 255, 256, 65535], "<u2")), [0, 0, 1, 255]),
        (tiff(np.array([0, 256, 65535], "<u2"), white_is_zero=True), [255, 254, 0]),
        (tiff(np.array([0, 32767], "<i2"), sample=2), [0, 255]),  # 15 bits and a sign
        (tiff(np.array([0, 512, 65535], "<i4"), bits=32, sample=2), [0, 2, 255]),  # what Pillow writes of 16 bits in mode I
        (tiff(np.array([0, 0.2, 1], "<f4"), bits=32, sample=3), [0, 51, 255]),
        (tiff(np.array([0, 100.4, 255], "<f4"), bits=32, sample=3), [0, 100, 255]),
        (b"P5\n2 1\n65535\n\x80\x00\xff\xff", [128, 255]),
        (b"P5\n2 1\n1023\n\x02\x00\x03\xff", [128, 255]),  # 512/1023 of 65535 is 32800, whose upper byte is 128
        (b"P2\n3 1\n100\n0 50 100", [0, 128, 255]),  # 127.5, to even
        (b"P1\n3 1\n0 1 0", [255, 0, 255]),
    ],
)
def test_grey_values_of_any_depth_are_scaled_to_8_bits(content: bytes, wanted: list[int]) -> None:
    assert np.asarray(open_image(content))[0, :, 1].tolist() == wanted


@pytest.mark.parametrize("values", [[0, 1.5], [-0.1, 1], [0, 300], [0, float("nan")], [0, float("inf")]])
def test_floats_whose_white_is_not_known_are_refused(values: list[float]) -> None:
    with pytest.raises(ImageError, match="unsupported format: floats from .* neither 0 to 1 nor 0 to 255"):
        open_image(tiff(np.array(values, "<f4"), bits=32, sample=3))


def test_integers_of_32_bits_are_refused() -> None:
    with pytest.raises(ImageError, match="unsupported format: integers from 0 to 65536: more than 16 bits"):
        open_image(tiff(np.array([0, 65536], "<i4"), bits=32, sample=2))


def test_cmyk_of_adobe_is_stored_inverted() -> None:
    content = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 51)), "JPEG", quality=100)  # red, a fifth black: 255 * 0.8 = 204
    assert content is not None and b"Adobe" in content
    assert abs(np.asarray(open_image(content))[8, 8].astype(int) - (204, 0, 0)).max() <= 2


def test_ycck_is_turned_into_colours() -> None:
    # YCCK (Adobe technical note 5116) is Y, Cb, Cr of 255 - C, 255 - M, 255 - Y as stored, that is inverted, so of the inks themselves:
    # red is the inks 0, 255, 255, whose Y, Cb, Cr are 179, 171, 0 (JFIF). K: 51, stored as 204. Pillow inverts what it writes.
    content = saved(Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255 - 0, 51)), "JPEG", quality=100)
    assert content is not None
    adobe = content.index(b"Adobe")
    content = content[: adobe + 11] + b"\2" + content[adobe + 12 :]  # transform 2: YCCK
    assert abs(np.asarray(open_image(content))[8, 8].astype(int) - (204, 0, 0)).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_first_of_several_frames_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert content is not None
    assert abs(np.asarray(open_image(content))[8, 8].astype(int) - (250, 0, 0)).max() <= 5


def test_transparent_gif_is_on_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    content = saved(image, "GIF", transparency=1)
    assert content is not None and np.asarray(open_image(content)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_trailing_bytes_do_no_harm(tmp_path: Path) -> None:
    content = saved(Image.fromarray(patches()), "PNG")
    assert content is not None
    (tmp_path / "a.png").write_bytes(content + bytes(range(256)) * 20)
    assert np.array_equal(open_image(tmp_path / "a.png"), patches())


@pytest.mark.parametrize("kind", READ)
def test_path_and_content_give_the_same_pixels(kind: str, tmp_path: Path) -> None:
    content = saved(in_mode("RGB"), kind)
    assert content is not None
    (tmp_path / "no suffix").write_bytes(content)
    path, string = tmp_path / "no suffix", str(tmp_path / "no suffix")
    assert np.array_equal(open_image(path), open_image(content)) and np.array_equal(open_image(string), open_image(bytearray(content)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "broken image: the file is empty"),
        (b"<html>not found</html>", "not an image: it begins with b'<html>not fo'"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "unsupported format: HEIC; save it as PNG or JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "unsupported format: HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run", "unsupported format: EPS"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported format: SVG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "broken image: what follows the first bytes is no PNG that can be read"),
        (b"\0\0\0\x1cftypavif" + bytes(99), "broken image: what follows the first bytes is no AVIF"),
        (png(3, 8, 0, b"\1\2"), "broken image: PNG: "),
        (b"P6\n100000 100000\n255\n", "image too large: its header asks for many more than 67,108,864 pixels"),
        (b"P6\n10000 10000\n255\n", "image too large: 10,000 x 10,000 pixels, more than 67,108,864 pixels or 65,535 a side"),
        (b"P5\n3000 3000\n100\n" + bytes(99), "image too large: 9,000,000 pixels of a PPM of this kind"),
        (b"P6\n#" + b"a" * 5000 + b"\n1 1\n255\nabc", "broken image: no size in the first 4,096 bytes"),
        (png(MAX_SIDE + 1, 1, 0, bytes(MAX_SIDE + 1)), "image too large: 65,536 x 1 pixels"),
    ],
)
def test_file_that_gives_no_image_ends_in_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(content)
    assert str(caught.value).startswith(reason)
    assert caught.value.reason == reason.partition(":")[0]
    assert isinstance(caught.value, DeviceError) and "\n" not in str(caught.value)


def test_jpeg_of_many_scans_over_many_pixels_is_refused() -> None:
    content = bytearray(saved(Image.fromarray(patches()), "JPEG", progressive=True) or b"")
    size = content.index(b"\xff\xc2") + 5
    content[size : size + 4] = struct.pack(">HH", 8000, 8000)
    scans = bytes(content[content.index(b"\xff\xda") : -2])
    with pytest.raises(ImageError, match="image too large: [0-9]+ scans over 64,000,000 pixels"):
        open_image(bytes(content[:-2]) + scans * 20 + b"\xff\xd9")


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    wanted = {
        "pipe": "not a regular file: a pipe",
        "zero": "not a regular file: a device",
        "socket": "not a regular file: a socket",
        ".": "not a regular file: a folder",
        "loop": "unreadable file: Too many levels of symbolic links",
        "dangling": "missing file",
        "pipe/a.png": "missing file",
        "a\0b": "unreadable file: embedded null byte",
    }
    for name, reason in wanted.items():
        with pytest.raises(ImageError, match=reason):
            open_image(f"{tmp_path}/{name}")


def test_link_to_a_file_is_followed(tmp_path: Path) -> None:
    Image.fromarray(patches()).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert np.array_equal(open_image(tmp_path / "b.png"), patches())
