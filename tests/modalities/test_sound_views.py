"""Sounds varied for training: what each word does, by how much at most, and that a sound's view does not depend on its batch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from compress.modalities.modality import modality
from compress.modalities.sound_views import in_rooms, interpolate, vary_sounds

ROOM = modality("audio")
LENGTH = 4000


def words(**changes: float) -> SimpleNamespace:
    return SimpleNamespace(**{"speed": 0, "shift": 0, "mask": 0, "gain": 0, "noise": 0, "reverb": 0, **changes})


def tones(count: int = 64) -> torch.Tensor:
    """(N, T) int16: 100 Hz at 4 kHz, 40 samples a period."""
    tone = 10000 * np.sin(2 * np.pi * np.arange(LENGTH) / 40)
    return torch.from_numpy(np.tile(np.rint(tone).astype(np.int16), (count, 1)))


def varied(values: torch.Tensor, *, number: int = 1, **changes: float) -> np.ndarray:
    """(N, T) float64 of the variant `number` of every sound."""
    return ROOM.vary(values, ROOM.variant(words(**changes), 0, number), np.arange(len(values))).numpy().astype(np.float64)


def loudness(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).mean(1))


def test_nothing_varies_unless_it_is_asked_for() -> None:
    assert ROOM.most_variants(words()) == 1 and ROOM.variant(words(noise=1), 0, 0) == ()
    assert torch.equal(ROOM.vary(tones(), (), np.arange(64)), tones())
    np.testing.assert_array_equal(varied(tones()), tones())


@pytest.mark.parametrize("word", ["speed", "shift", "mask", "gain", "noise", "reverb"])
def test_each_word_gives_variants_without_end(word: str) -> None:
    assert ROOM.most_variants(words(**{word: 0.2})) is None
    first, second = (varied(tones(), number=number, **{word: 0.2}) for number in (1, 2))
    assert not np.array_equal(first, second) and not np.array_equal(first[0], first[1])


def test_view_of_a_sound_does_not_depend_on_its_batch() -> None:
    variant = ROOM.variant(words(speed=0.1, shift=0.1, mask=0.2, gain=6, noise=0.1, reverb=0.2), 3, 2)
    whole = vary_sounds(tones(), variant, np.arange(64))
    assert torch.equal(vary_sounds(tones(2), variant, np.array([5, 60])), whole[[5, 60]])
    assert whole.dtype == torch.int16


def test_gain_is_in_decibels() -> None:
    ratio = 20 * np.log10(loudness(varied(tones(), gain=6)) / loudness(tones().numpy().astype(float)))
    assert -6 <= ratio.min() < -4 and 4 < ratio.max() <= 6


def test_noise_is_a_share_of_the_sounds_own_loudness() -> None:
    for loud in (1.0, 0.1):
        plain = (tones().float() * loud).round().to(torch.int16)
        share = loudness(varied(plain, noise=0.5) - plain.numpy()) / loudness(plain.numpy().astype(float))
        assert share.min() < 0.1 and 0.4 < share.max() <= 0.52


def test_mask_is_one_stretch_of_silence() -> None:
    silent = varied(tones() * 0 + 7, mask=0.5) == 0
    assert 0.4 < silent.mean(1).max() <= 0.5
    assert (np.abs(np.diff(silent.astype(int), axis=1)).sum(1) <= 2).all()


def test_shift_moves_by_whole_samples_and_brings_in_silence() -> None:
    found, plain = varied(tones() * 0 + 7, shift=0.25), 7
    silent = (found == 0).mean(1)
    assert set(np.unique(found)) == {0, plain} and 0.2 < silent.max() <= 0.25
    front = (found[:, 0] == 0) & (silent > 0)
    assert 10 < front.sum() < 54  # both ways


def test_speed_changes_pitch() -> None:
    crossings = (np.diff(np.sign(varied(tones(), speed=0.2)[:, 1:3000])) != 0).sum(1) / (2 * 2999 / 40)
    assert 0.78 < crossings.min() < 0.85 and 1.15 < crossings.max() < 1.22


def test_what_is_too_loud_is_clipped() -> None:
    assert np.abs(varied(tones() * 3, gain=30)).max() <= 32768


def test_interpolate_reads_between_samples_and_silence_outside() -> None:
    x = torch.tensor([[10.0, 20.0, 40.0]])
    place = torch.tensor([[-1.5, -0.5, 0.0, 0.25, 1.5, 2.0, 2.5, 3.0]])
    assert interpolate(x, place[:, :3]).tolist() == [[0, 5, 10]]
    assert interpolate(x, place[:, 3:6]).tolist() == [[12.5, 30, 40]]
    assert interpolate(x, place[:, 5:]).tolist() == [[40, 20, 0]]


def test_room_of_one_echo_is_the_sound_and_its_echo() -> None:
    x = torch.zeros(1, 6)
    x[0, 1] = 4.0
    found = in_rooms(x, torch.tensor([[0.5, 0.25]]), torch.tensor([[0.0, 0.5, 0.5, 0.5]]))
    # the draws give -1, 0, 0, 0: one echo a sample later, of a quarter of the energy, so -2; then as loud as before: over sqrt(16 + 4) / 4
    torch.testing.assert_close(found, torch.tensor([[0, 4.0, -2.0, 0, 0, 0]]) / (20**0.5 / 4), atol=1e-5, rtol=0)


def test_room_rings_behind_the_sound_falls_silent_and_is_as_loud() -> None:
    click = torch.zeros(256, LENGTH, dtype=torch.int16)
    click[:, 100] = 30000
    found = varied(click, reverb=0.25)
    assert not found[:, :100].any() and found[:, 101:400].any(1).all()  # nothing sounds before its cause
    early, late = ((found[:, a:b] ** 2).mean() for a, b in ((101, 300), (900, 1099)))
    assert early > 20 * late and not found[:, 1102:].any()  # it rings for at most a quarter of 4,000 samples
    np.testing.assert_allclose(loudness(found), loudness(click.numpy().astype(float)), rtol=0.02)
