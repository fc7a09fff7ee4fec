"""A sound file as users have it, a path or its content, as int16 samples of one channel. soundfile and soxr are imported on first use.

Channels are averaged, then brought to the rate; what is 16 bits, one channel and of that rate already keeps its samples. Any file ends as
samples or as one AudioError, in bounded memory: no more of it is decoded than is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AudioError, DeviceError
from .feeds import first_line
from .plain_file import format_of, open_plain

MAX_BYTES = 2**30  # of a file
MAX_SECONDS = 1800  # of a sound that is read whole
MAX_CHANNELS = 16
RATES = (1_000, 384_000)  # samples a second; a header that says anything else is wrong
LOUDEST = 8.0  # of float samples, where 1 is full scale: what is above was never brought to that scale
BLOCK = 65_536  # frames decoded at a time
TAIL = 0.1  # seconds decoded behind what is asked for, so that the resampler's window is full there

READ = ("WAV", "FLAC", "OGG", "MP3")
SIGNATURES = {  # format -> how its files begin
    "WAV": rb"(RIFF|RF64).{4}WAVE",
    "FLAC": rb"fLaC",
    "OGG": rb"OggS",
    "MP3": rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]",
    "AIFF": rb"FORM.{4}AIF[FC]",
    "AU": rb"\.snd",
    "CAF": rb"caff",
    "AAC": rb"\xff[\xf0\xf1\xf8\xf9]",
    "M4A": rb".{4}ftyp",
    "WMA": rb"\x30\x26\xb2\x75",
    "AMR": rb"#!AMR",
    "WebM": rb"\x1a\x45\xdf\xa3",
    "MIDI": rb"MThd",
}


def read_samples(value: str | Path | bytes, *, rate: int, count: int | None = None) -> np.ndarray:
    """(T,) int16 of one channel at `rate`; no more than the first `count` of them where that is given.

    Raises: AudioError for any file that gives none, DeviceError where a package is missing.
    """
    with _opened(value) as sound:
        own = int(sound.samplerate)
        mono = _decode(sound, math.ceil(count * own / rate + TAIL * own) if count else MAX_SECONDS * own, whole=not count)
    _check_values(mono)
    if own != rate:
        _, soxr = packages()
        mono = soxr.resample(mono, own, rate)
    return np.clip(np.rint(mono[:count] * np.float32(32768)), -32768, 32767).astype(np.int16)


def sound_length(value: str | Path | bytes) -> tuple[float, int]:
    """(seconds, samples a second) as the header has them; what follows it is not decoded. Raises as `read_samples`."""
    with _opened(value) as sound:
        return sound.frames / sound.samplerate, int(sound.samplerate)


@contextmanager
def _opened(value: str | Path | bytes) -> Iterator[Any]:
    """The file as soundfile has it, its header checked; whatever is raised inside becomes an AudioError."""
    soundfile, _ = packages()
    with open_plain(value, error=AudioError, most=MAX_BYTES) as file:
        name = format_of(file, SIGNATURES, read=READ, error=AudioError)
        file.seek(0)
        try:
            with soundfile.SoundFile(file) as sound:
                _check_header(sound)
                yield sound
        except AudioError:
            raise
        except MemoryError as error:
            raise AudioError("audio too large", "there is no memory to decode it") from error
        except Exception as error:  # decoders of foreign files raise whatever they stumble over
            raise AudioError("broken audio", f"{name}: {re.sub('^Error opening .*>: ', '', first_line(error))}") from error


def packages() -> tuple[Any, Any]:
    """The modules soundfile and soxr; raises DeviceError where one is not installed."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # OSError: soundfile without the library that it wraps
        raise DeviceError(f"sounds need the packages soundfile and soxr ({error}): pip install soundfile soxr") from error
    return soundfile, soxr


def _check_header(sound: Any) -> None:
    """Raises AudioError for a header that no sound has."""
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise AudioError("unusable rate", f"its header says {sound.samplerate:,} samples a second")
    if sound.channels > MAX_CHANNELS:
        raise AudioError("too many channels", f"{sound.channels}, more than {MAX_CHANNELS}")


def _decode(sound: Any, frames: int, *, whole: bool) -> np.ndarray:
    """(T,) float32: the mean over the channels of at most `frames` frames. `whole`: a longer file is refused."""
    blocks, left = [], frames
    while left > 0:
        block = sound.read(min(BLOCK, left), dtype="float32", always_2d=True)  # (b, channels)
        if not len(block):
            break
        blocks.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
        left -= len(block)
    if whole and not left:
        raise AudioError("audio too large", f"longer than {MAX_SECONDS:,} seconds; cut it")
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def _check_values(mono: np.ndarray) -> None:
    """Raises AudioError for samples that are no sound."""
    if not len(mono):
        raise AudioError("broken audio", "it has no samples")
    if not np.isfinite(mono).all():
        raise AudioError("broken audio", f"sample {int(np.flatnonzero(~np.isfinite(mono))[0]) + 1:,} is not finite")
    if (peak := float(np.abs(mono).max())) > LOUDEST:
        raise AudioError("broken audio", f"samples up to {peak:.3g}, where 1 is full scale")
