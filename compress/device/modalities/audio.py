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
        shown = f"<{len(value):,} bytes>" if isinstance(value, (bytes, bytearray)) else value
        raise DeviceError(f"{shown}: {error}; give {OPTION} a whole WAV or FLAC file") from error


def decode(value: str | Path | bytes, *, samples: int, rate: int) -> np.ndarray:
    """(T,) int16 of a path or of a file's content: its first T samples at `rate`, zeros behind a shorter one.

    Raises: AudioError, also for digital silence, which answers nothing; DeviceError without the packages.
    """
    heard = read_samples(value, rate=rate, count=samples)
    if not heard.any():
        raise AudioError("silent audio", f"nothing but zeros in its first {samples / rate:.3g} seconds")
    return np.pad(heard, (0, samples - len(heard)))
