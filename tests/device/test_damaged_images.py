"""300 damaged image files: each ends as pixels or as an ImageError, in seconds, in bounded memory; so does a look at its size alone.

Run as a program, it reads a folder.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300
SECONDS = 10  # of processor time for one file; most take milliseconds
MEBIBYTES = 1500  # what the process may hold
REASONS = {
    "not an image",
    "broken image",
    "image too large",
    "unsupported format",
    "missing file",
    "unreadable file",
    "not a regular file",
}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def whole_files() -> dict[str, bytes]:
    """Small files of every format, in the forms that are decoded by different code."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (33, 47, 4), np.uint8), "RGBA")
    deep, floats = rng.integers(0, 65536, (33, 47)).astype(np.uint16), rng.random((33, 47)).astype(np.float32)
    rgb, exif = rgba.convert("RGB"), Image.Exif()
    palette, exif[0x0112] = rgb.quantize(16), 6

    def more() -> dict:
        return {"save_all": True, "append_images": [rgb.rotate(180)]}  # new ones: a save leaves its settings on them

    files = {
        "png": saved(rgba, "PNG", exif=exif),
        "png_palette": saved(palette, "PNG"),
        "png_deep": saved(Image.fromarray(deep), "PNG"),
        "apng": saved(rgba, "PNG", **more()),
        "jpeg": saved(rgb, "JPEG", exif=exif),
        "jpeg_progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg_cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "mpo": saved(rgb.copy(), "MPO", **more()),
        "webp": saved(rgba, "WEBP", exif=exif),
        "webp_lossless": saved(rgba, "WEBP", lossless=True),
        "webp_frames": saved(rgb, "WEBP", **more()),
        "gif": saved(palette, "GIF"),
        "gif_frames": saved(rgb, "GIF", **more()),
        "bmp": saved(rgb, "BMP"),
        "bmp_palette": saved(palette, "BMP"),
        "avif": saved(rgba, "AVIF", exif=exif),
        "avif_frames": saved(rgb, "AVIF", **more()),
        "ppm": saved(rgb, "PPM"),
        "pfm": saved(Image.fromarray(floats), "PPM"),
        "ppm_text": b"P3\n47 33\n255\n" + " ".join(map(str, np.asarray(rgb).reshape(-1))).encode(),
        "tiff_deep": saved(Image.fromarray(deep), "TIFF"),
        "tiff_float": saved(Image.fromarray(floats), "TIFF", compression="tiff_lzw"),
        "tiff_pages": saved(rgb, "TIFF", **more()),
        "tiff_group4": saved(rgb.convert("1"), "TIFF", compression="group4"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files[f"tiff_{compression}"] = saved(rgb, "TIFF", compression=compression, exif=exif)
    return files


def damage(content: bytes, how: str, rng: np.random.Generator) -> bytes:
    """The file cut off, with wrong bytes, with a piece twice, or with more behind it."""
    data, place = bytearray(content), int(rng.integers(1, len(content)))
    if how == "cut":
        return bytes(data[:place])
    if how == "trailing":
        return content + rng.bytes(int(rng.integers(1, 5000)))
    if how == "twice":
        return bytes(data[:place] + data[max(0, place - 200) :])
    reach = min(len(data), 200) if how == "header" else len(data)
    for _ in range(int(rng.integers(1, 12))):
        data[int(rng.integers(0, reach))] = int(rng.integers(0, 256)) if how != "ones" else 255
    return bytes(data)


def png(width: int, height: int, pixels: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of RGBA pixels with more chunks before them."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(pixels, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)


def tiff(**tags: tuple[int, int]) -> bytes:
    """A TIFF of 8 x 8 grey pixels, some of whose tags have another (count, value)."""
    known = {256: (1, 8), 257: (1, 8), 258: (1, 8), 259: (1, 1), 262: (1, 1), 273: (1, 400), 277: (1, 1), 278: (1, 8), 279: (1, 64)}
    known |= {int(tag[1:]): value for tag, value in tags.items()}
    if 322 in known:  # tiles instead of strips
        known = {tag: value for tag, value in known.items() if tag not in (273, 278, 279)}
    entries = b"".join(struct.pack("<HHII", tag, 4, *value) for tag, value in sorted(known.items()))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(known)) + entries + bytes(4)).ljust(400, b"\0") + bytes(500)


def patched(content: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    start = content.index(mark) + offset
    return content[:start] + value + content[start + len(value) :]


def bombs(files: dict[str, bytes]) -> dict[str, bytes]:
    """Headers and chunks that ask for more memory or time than their bytes are worth."""
    zeros = zlib.compress(bytes(50_000_000), 9)
    found = {
        "png_60000": png(60_000, 60_000, b""),
        "png_short": png(8192, 8192, bytes(1000)),
        "png_one_row": png(65_535, 1, bytes(1 + 4 * 65_535)),
        "png_text": png(8, 8, bytes(264), (b"zTXt", b"a\0\0" + zeros)),
        "png_texts": png(8, 8, bytes(264), *[(b"zTXt", b"%d\0\0" % i + zlib.compress(bytes(1_000_000))) for i in range(80)]),
        "png_xmp": png(8, 8, bytes(264), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)),
        "png_profile": png(8, 8, bytes(264), (b"iCCP", b"a\0\0" + zeros)),
        "png_chunk": files["png"][:33] + b"\xff\xff\xff\xf0tEXtabc",
        "gif_65535": patched(files["gif"], b"GIF8", 6, b"\xff\xff\xff\xff"),
        "bmp_wide": patched(files["bmp"], b"BM", 18, struct.pack("<I", 2**31 - 1)),
        "bmp_short": patched(files["bmp"], b"BM", 18, struct.pack("<II", 8192, 8192)),
        "bmp_rle": patched(patched(files["bmp_palette"], b"BM", 30, b"\1"), b"BM", 18, struct.pack("<II", 8192, 8192))
        + b"\0\2\xff\xff" * 99,
        "jpeg_65535": patched(files["jpeg"], b"\xff\xc0", 5, b"\xff\xff\xff\xff"),
        "jpeg_8000": patched(files["jpeg"], b"\xff\xc0", 5, struct.pack(">HH", 8000, 8000)),
        "webp_16384": patched(files["webp_frames"], b"VP8X", 12, b"\xff\x3f\0\xff\x3f\0"),
        "webp_8192": patched(files["webp_frames"], b"VP8X", 12, b"\xff\x1f\0\xff\x1f\0"),
        "avif_60000": patched(files["avif"], b"ispe", 8, struct.pack(">II", 60_000, 60_000)),
        "avif_8192": patched(files["avif"], b"ispe", 8, struct.pack(">II", 8192, 8192)),
        "ppm_99999": b"P6\n99999 99999\n255\n" + bytes(100),
        "ppm_short": b"P6\n8192 8192\n255\n" + bytes(100),
        "ppm_comment": b"P6\n#" + b"a" * 20_000_000,
        "ppm_digits": b"P2\n8 8\n255\n" + b"1" * 20_000_000,
        "tiff_wide": tiff(t256=(1, 10**9), t257=(1, 1)),
        "tiff_short": tiff(t256=(1, 8192), t257=(1, 8192)),
        "tiff_tag": tiff(t270=(2**32 - 1, 8)),
        "tiff_strips": tiff(t273=(2**30, 8)),
        "tiff_samples": tiff(t277=(1, 65_535)),
    }
    for compression in (1, 5, 7, 8, 32773):  # as it is, LZW, JPEG, deflate, PackBits
        found[f"tiff_tile_{compression}"] = tiff(t259=(1, compression), t322=(1, 60_000), t323=(1, 60_000), t324=(1, 400), t325=(1, 64))
        found[f"tiff_rows_{compression}"] = tiff(t259=(1, compression), t278=(1, 2**32 - 1), t279=(1, 2**32 - 2))
    return found


def fill(folder: Path) -> None:
    """The damaged files, and what is no file at all, in a folder."""
    files, rng = whole_files(), np.random.default_rng(7)
    ways, names = ("cut", "flipped", "header", "ones", "twice", "trailing"), list(files)
    for index in range(COUNT):
        how, name = ways[index % len(ways)], names[index * 7 % len(names)]
        (folder / f"{index:03}-{how}-{name}").write_bytes(damage(files[name], how, rng))
    for name, content in bombs(files).items():
        (folder / name).write_bytes(content)
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    for name, target in {"zero.png": "/dev/zero", "random.png": "/dev/urandom", "loop.png": "loop.png", "dangling.png": "nothing"}.items():
        (folder / name).symlink_to(target)


def test_damaged_files_end_as_pixels_or_as_a_reason(tmp_path: Path) -> None:
    fill(tmp_path)
    command = [sys.executable, str(Path(__file__)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr  # any other exception than an ImageError
    found = json.loads(done.stdout)
    ends = found["ends"]
    assert len(ends) == len(list(tmp_path.iterdir())) >= COUNT + 40
    assert {reason for reason, _ in ends.values()} <= REASONS | {"read"}
    assert {name: seconds for name, (_, seconds) in ends.items() if seconds > SECONDS} == {}
    assert found["mebibytes"] < MEBIBYTES
    assert all(
        ends[name][0] == "image too large" for name in ("png_60000", "gif_65535", "bmp_wide", "webp_16384", "ppm_99999", "tiff_wide")
    )
    cut = [reason for name, (reason, _) in ends.items() if "-cut-" in name]
    assert cut.count("read") < len(cut) / 5  # some formats end with bytes that no decoder needs
    assert all(reason == "read" for name, (reason, _) in ends.items() if "-trailing-" in name and "text" not in name)


def read_all(folder: Path) -> dict:
    """How each file of the folder ends and after how many seconds of processor time, and the most memory that the process held."""
    from compress.device.errors import ImageError
    from compress.device.modalities.image import decode
    from compress.modalities.picture_sizes import picture_size  # how `compress init` looks at files

    ends = {}
    for path in sorted(folder.iterdir()):
        started, reason = time.process_time(), "read"
        try:
            assert decode(path, height=32, width=32).shape == (32, 32, 3)
        except ImageError as error:
            reason = error.reason
        with suppress(ImageError):
            assert min(picture_size(str(path))) > 0
        ends[path.name] = (reason, time.process_time() - started)
    return {"ends": ends, "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(read_all(Path(sys.argv[1]))))
