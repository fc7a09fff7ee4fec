"""Sound files of every kind as samples: what keeps its samples, what is brought to another form, and what is refused, without a hang."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.device import audio_file
from compress.device.audio_file import MAX_CHANNELS, read_samples
from compress.device.errors import AudioError, DeviceError


def tone(seconds: float = 0.5, *, rate: int = 16000, hertz: float = 440, loud: float = 0.5) -> np.ndarray:
    """(T,) float64."""
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def written(samples: np.ndarray, rate: int = 16000, *, kind: str = "WAV", subtype: str | None = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("RF64", "PCM_16")]
)
def test_samples_of_sixteen_bits_are_kept(kind: str, subtype: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    content = written(samples / 32768, kind=kind, subtype=subtype)
    np.testing.assert_array_equal(read_samples(content, rate=16000), samples)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("WAV", "IMA_ADPCM"), ("WAV", "ULAW")])
def test_compressed_sounds_keep_their_tone(kind: str, subtype: str | None) -> None:
    got = read_samples(written(tone(), kind=kind, subtype=subtype), rate=16000)
    spectrum = np.abs(np.fft.rfft(got[2000:6000]))  # 4000 samples: a bin is 4 Hz
    assert spectrum.argmax() == 110
    assert spectrum[110] / 2000 / 32768 == pytest.approx(0.5, rel=0.05)


def test_path_and_content_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(written(tone(), kind="FLAC"))
    whole = read_samples(tmp_path / "a.flac", rate=8000)
    np.testing.assert_array_equal(whole, read_samples((tmp_path / "a.flac").read_bytes(), rate=8000))
    np.testing.assert_array_equal(whole, read_samples(str(tmp_path / "a.flac"), rate=8000))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_another_rate_keeps_pitch_and_length(rate: int) -> None:
    got = read_samples(written(tone(rate=rate), rate), rate=16000)
    assert abs(len(got) - 8000) <= 1
    np.testing.assert_allclose(got[1000:7000] / 32768, tone()[1000:7000], atol=2e-3)


def test_what_lies_above_half_the_rate_is_not_folded_down() -> None:
    got = read_samples(written(tone(hertz=6000)), rate=8000)  # would be 2000 Hz
    assert np.abs(got[500:-500]).max() <= 33  # -60 dB


@pytest.mark.parametrize("channels", [1, 2, 6, MAX_CHANNELS])
def test_channels_are_averaged(channels: int) -> None:
    parts = np.random.default_rng(0).uniform(-1, 1, (500, channels))
    got = read_samples(written(parts, subtype="FLOAT"), rate=16000)
    np.testing.assert_allclose(got / 32768, parts.mean(1), atol=1.5 / 32768)


def test_opposite_channels_cancel() -> None:
    assert not read_samples(written(np.stack([tone(), -tone()], 1), subtype="FLOAT"), rate=16000).any()


def test_louder_than_full_scale_is_clipped() -> None:
    got = read_samples(written(np.array([2.0, -2.0, 0.5]), subtype="FLOAT"), rate=16000)
    assert got.tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_first_samples_are_those_of_the_whole(rate: int) -> None:
    content = written(tone(2.0, rate=rate), rate)
    few, whole = read_samples(content, rate=16000, count=7000), read_samples(content, rate=16000)
    assert few.shape == (7000,) and abs(len(whole) - 32000) <= 1
    assert np.abs(few.astype(int) - whole[:7000]).max() <= 1


def test_no_more_is_decoded_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **k: frames.append(n) or read(self, n, **k))
    read_samples(written(np.tile(tone(1.0), 60)), rate=16000, count=16000)
    assert sum(frames) == 16000 + 1600  # and a tenth of a second for the resampler


def header_rate(content: bytes, rate: int) -> bytes:
    return content[:24] + struct.pack("<I", rate) + content[28:]


WAV = written(tone())
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "broken audio: the file is empty"),
    "no samples": (written(np.empty(0)), "broken audio: it has no samples"),
    "text": (b"this is no sound", "not audio: it begins with b'this is no s'"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "not audio"),
    "another kind": (written(tone(), kind="AIFF"), "unsupported format: AIFF; save it as WAV or FLAC"),
    "M4A": (b"\0\0\0\x20ftypM4A " + bytes(99), "unsupported format: M4A"),
    "not finite": (written(np.array([0, np.nan, 0.1]), subtype="FLOAT"), "broken audio: sample 2 is not finite"),
    "infinite": (written(np.array([0.1, 0, np.inf]), subtype="FLOAT"), "broken audio: sample 3 is not finite"),
    "another scale": (written(np.array([0, 3e4, -3e4]), subtype="FLOAT"), "broken audio: samples up to 3e[+]04, where 1 is full scale"),
    "100 channels": (written(np.ones((10, 100)) / 2), "too many channels: 100, more than 16"),
    "rate of 0": (header_rate(WAV, 0), "unusable rate: its header says 0 samples|broken audio"),
    "rate of 7": (header_rate(WAV, 7), "unusable rate: its header says 7 samples a second"),
    "rate of 2 GHz": (header_rate(WAV, 2_000_000_000), "unusable rate: its header says 2,000,000,000 samples"),
    "header alone": (WAV[:36], "broken audio"),
    "junk behind RIFF": (b"RIFF\xff\0\0\0WAVE" + b"junk" * 50, "broken audio: WAV: Error in WAV file"),
    "junk behind fLaC": (b"fLaC" + bytes(500), "broken audio: FLAC: "),
    "junk behind OggS": (b"OggS" + bytes(500), "broken audio: OGG: "),
    "junk behind ID3": (b"ID3" + bytes(500), "broken audio: MP3: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_is_told_with_a_reason(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(AudioError, match=message) as caught:
        read_samples(content, rate=16000, count=1000)
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)


def test_every_cut_of_a_file_gives_samples_or_a_reason() -> None:
    for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)):
        content = written(tone(0.2), kind=kind, subtype=subtype)
        for size in range(1, len(content), len(content) // 40):
            try:
                assert read_samples(content[:size], rate=8000, count=800).dtype == np.int16
            except AudioError as error:
                assert error.reason in ("broken audio", "not audio"), error


def test_every_damaged_byte_gives_samples_or_a_reason() -> None:
    random = np.random.default_rng(0)
    for kind, subtype in (("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)):
        content = written(tone(0.2), kind=kind, subtype=subtype)
        for _ in range(60):
            damaged = np.frombuffer(content, np.uint8).copy()
            damaged[random.integers(0, min(len(damaged), 4000), 4)] = random.integers(0, 256, 4)
            try:
                assert read_samples(damaged.tobytes(), rate=8000, count=800).dtype == np.int16
            except AudioError as error:
                assert error.reason


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, reason in {"pipe": "a pipe", "zero": "a device", ".": "a folder"}.items():
        with pytest.raises(AudioError, match=f"not a regular file: {reason}"):
            read_samples(tmp_path / name, rate=8000)
    with pytest.raises(AudioError, match="missing file"):
        read_samples(tmp_path / "nothing.wav", rate=8000)


def test_file_and_sound_have_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_file, "MAX_BYTES", 100)
    with pytest.raises(AudioError, match="audio too large: 16,044 bytes, more than 100"):
        read_samples(WAV, rate=8000)
    monkeypatch.undo()
    monkeypatch.setattr(audio_file, "MAX_SECONDS", 1)
    with pytest.raises(AudioError, match="audio too large: longer than 1 seconds; cut it"):
        read_samples(written(tone(1.1)), rate=8000)
    assert len(read_samples(written(tone(0.9)), rate=8000)) == 7200


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # which Python takes for a module that is not installed
    with pytest.raises(DeviceError, match=r"sounds need the packages soundfile and soxr .*: pip install soundfile soxr"):
        read_samples(WAV, rate=8000)
