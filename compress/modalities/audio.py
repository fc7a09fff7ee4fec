"""Sounds: files of any length and rate, kept as int16 samples of one channel; a model reads the samples (T,) and does the arithmetic in its graph."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.audio_file import read_samples, sound_length
from compress.device.errors import AudioError
from compress.device.modalities.audio import decode
from compress.io_spec import Port
from compress.modalities.modality import Cell, Failures, Inputs, Modality
from compress.models.processors import FILES

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

BLOCK = 64  # sounds a thread takes at a time
LONGEST = 30  # seconds that any model hears, as `words` says
COLUMNS, HEIGHT = 160, 48  # of the waveform that the report shows, in pixels


class Audio(Modality):
    """A cell is a path, or the content of a sound file (binary, or a struct {bytes, path} as Hugging Face writes it)."""

    words = {
        "input": {
            "seconds": {"type": "float", "gt": 0, "le": 30, "description": "Seconds a sound is cut or padded to, from its start."},
            "rate": {
                "type": "int",
                "default": 16000,
                "ge": 4000,
                "le": 48000,
                "description": "Samples a second that sounds are brought to; what lies above half of it is not heard.",
            },
        },
        "feed": {
            "name": {"type": "str", "default": "input_values", "description": "The file's input of samples."},
            "peak": {
                "type": "float",
                "default": 1.0,
                "gt": 0,
                "le": 32768,
                "description": "What full scale is there; 32768: 16-bit numbers.",
            },
        },
        "augment": {
            "speed": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 0.5,
                "description": "Views are faster or slower by up to this share, and higher or lower with it.",
            },
            "shift": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 0.5,
                "description": "Views are moved by up to this share of the length each way, with silence behind; each sound in its own way.",
            },
            "mask": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 0.9,
                "description": "One stretch of a view, of up to this share of the length, is silent.",
            },
            "gain": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 30,
                "description": "Views are louder or softer by up to this many decibels.",
            },
            "noise": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 2,
                "description": "White noise of up to this share of the sound's own loudness (root mean square) is in a view.",
            },
            "reverb": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 0.5,
                "description": "Views sound as in rooms, each in one of its own, which ring for up to this share of the length.",
            },
        },
        "student": {},
    }
    student = "ds_cnn"
    blank = "no audio"
    reads_files = True
    processor_files = FILES
    packages = {"soundfile": "soundfile", "soxr": "soxr"}

    def column(self, column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
        """Paths that do not depend on the working directory, or file contents."""
        from compress.modalities.cells import file_column

        return file_column(column, folder, place)

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """`file`.npy: (N, T) int16."""
        from compress.store.arrays import allocate

        forms = [_form(words) for words in files.values()]
        maps = [allocate(folder / f"{file}.npy", (len(inputs), form["samples"]), np.int16) for file, form in zip(files, forms, strict=True)]

        def write(start: int) -> Failures:
            failed = {}
            for index in range(start, min(start + BLOCK, len(inputs))):
                value = inputs.value(index)
                try:
                    decoded = [decode(value, **form) for form in forms]
                except AudioError as error:
                    failed[index] = (error.reason, inputs.shown(index) + (f": {error.detail}" if error.detail else ""))
                else:
                    for samples, sound in zip(maps, decoded, strict=True):
                        samples[index] = sound
            return failed

        failures: Failures = {}
        with ThreadPoolExecutor(threads) as pool:
            for failed in pool.map(write, range(0, len(inputs), BLOCK)):
                failures.update(failed)
        for samples in maps:
            samples.flush()
        return failures

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """In blocks, so that sounds need not fit into memory."""
        from compress.store.arrays import keep_rows

        keep_rows(folder / f"{file}.npy", kept, out=out / f"{file}.npy", block=1024)

    def sizes(self, inputs: Inputs, index: Sequence[int]) -> dict[str, list[float]]:
        """As headers have them."""
        found = [sound_length(inputs.value(i)) for i in index]
        return {"seconds": [seconds for seconds, _ in found], "samples a second": [float(rate) for _, rate in found]}

    def port(self, words: Any, model: Path | None) -> Port:
        """(T,) int32, because TensorRT takes no int16; training reads the int16 that is stored."""
        form = _form(words)
        return Port(self.name, "int32", (form["samples"],), -32768, 32767, reading={"rate": form["rate"]})

    def feed(self, words: Any, *, padding: int = 0) -> dict[str, list[tuple[str, Any]]]:
        """Samples as float32 in the file's own unit."""
        return {words.name: [("Cast", "float32"), ("Mul", np.float32(words.peak / 32768))]}

    def most_variants(self, words: Any) -> int | None:
        """Without end, where anything varies."""
        return None if any(_changes(words)) else 1

    def variant(self, words: Any, seed: int, number: int) -> tuple:
        """(seed, number, speed, shift, mask, gain, noise, reverb)."""
        return (seed, number, *_changes(words)) if number else ()

    def vary(self, values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
        """values: (N, T) int16."""
        from compress.modalities.sound_views import vary_sounds

        return vary_sounds(values, variant, index) if variant else values

    def processor_words(self, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
        """The rate that its feature extractor asks for."""
        from compress.models.audio_processors import read_audio_processor

        described = read_audio_processor(folder)
        return {"rate": described["sampling_rate"]} if described else {}

    def as_given(self, stored: Any, index: int, port: Port) -> dict[str, Any]:
        """A WAV file of the length and the rate that the model hears."""
        samples, rate = np.asarray(stored[index]), int((port.reading or {})["rate"])
        return {f"WAV, {len(samples) / rate:.3g} s at {rate:,} Hz": _wav(samples, rate)} if samples.any() else {}

    def show(self, stored: Any, index: int) -> str:
        """Its waveform; the loudest sample reaches the edge."""
        samples = np.abs(np.asarray(stored[index], np.float32))
        peaks = np.array([part.max(initial=0) for part in np.array_split(samples, COLUMNS)])
        heights = np.maximum(1, np.rint(peaks / max(1.0, peaks.max()) * HEIGHT / 2)).astype(int)
        bars = "".join(f"M{x} {HEIGHT // 2 - h}v{2 * h}" for x, h in enumerate(heights))
        return f'<svg role="img" aria-label="the input sound" width="{COLUMNS}" height="{HEIGHT}"><path d="{bars}" stroke="currentColor"/></svg>'

    def show_whole(self, stored: Any, index: int, words: Mapping[str, Any]) -> str:
        """Its waveform over a player, which holds what the student hears as a WAV file without the silence behind it."""
        content = _wav(np.trim_zeros(np.asarray(stored[index]), "b"), int(words["rate"]))
        player = f'<audio controls preload="none" src="data:audio/wav;base64,{base64.b64encode(content).decode()}"></audio>'
        return self.show(stored, index) + player

    def as_cell(self, value: Any) -> Cell:
        """A WAV of its samples alone, at its own rate: one channel, and no more than any model hears."""
        _, rate = sound_length(value)
        return Cell.file(_wav(read_samples(value, rate=rate, count=LONGEST * rate), rate), ".wav")


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """The content of a WAV file of one channel: samples (T,) int16."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, rate, len(samples), "NONE", ""))
        sound.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _changes(words: Any) -> tuple[float, ...]:
    """What varies and by how much, in the order that `vary_sounds` reads."""
    return (words.speed, words.shift, words.mask, words.gain, words.noise, words.reverb)


def _form(words: Any) -> dict[str, int]:
    """How a sound is brought to its length, for `decode` in compress/device/modalities/audio.py, here and on the device."""
    return {"samples": max(1, round(words.seconds * words.rate)), "rate": words.rate}
