"""A sound, a path or a file's content, as samples for a port (T,) int32: the same code in training and on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..audio_file import read_samples
from ..errors import AudioError, DeviceError

OPTION, HELP = "--audio", "sound file: WAV, FLAC, OGG or MP3"
EXAMPLE = '"recording.wav"'
ASSETS: tuple[str, ...] = ()
PACKAGES = ("soundfile>=0.13", "soxr>=0.5")


def read(value: Any, port: dict[str, Any], folder: Path) -> np.ndarray:
    """(1, T) int32, cut or padded to the port's length; raises DeviceError if a package is missing or the file gives no sound."""
    try:
        return decode(value, samples=port["shape"][0], **port["reading"])[None].astype(port["dtype"])
    except AudioError as error:
        raise _refused(value, error) from error


def windows(value: Any, port: dict[str, Any], hop: float) -> list[tuple[float, float, np.ndarray | None]]:
    """(start, end, samples (T,) int32) of each window of the port's length, one every `hop` seconds until the end is heard; None for silence.

    Raises: DeviceError for what gives no sound, or is longer than is read at once.
    """
    rate, length = port["reading"]["rate"], port["shape"][0]
    if not 1 <= hop * rate < 2**31:
        raise DeviceError(f"--hop {hop:g}: give the seconds from window to window, at least {1 / rate:.2g}")
    try:
        heard, step = read_samples(value, rate=rate), round(hop * rate)
    except AudioError as error:
        raise _refused(value, error) from error
    found = []
    for start in range(0, max(1, min(len(heard), len(heard) - length + step)), step):
        part = heard[start : start + length]
        samples = np.pad(part, (0, length - len(part))).astype(port["dtype"]) if part.any() else None
        found.append((start / rate, (start + len(part)) / rate, samples))
    return found


def decode(value: str | Path | bytes, *, samples: int, rate: int) -> np.ndarray:
    """(T,) int16 of a path or of a file's content: its first T samples at `rate`, zeros behind a shorter one.

    Raises: AudioError, also for digital silence, which answers nothing; DeviceError without the packages.
    """
    heard = read_samples(value, rate=rate, count=samples)
    if not heard.any():
        raise AudioError("silent audio", f"nothing but zeros in its first {samples / rate:.3g} seconds")
    return np.pad(heard, (0, samples - len(heard)))


def _refused(value: Any, error: AudioError) -> DeviceError:
    shown = f"<{len(value):,} bytes>" if isinstance(value, (bytes, bytearray)) else value
    return DeviceError(f"{shown}: {error}; give {OPTION} a whole WAV or FLAC file")
