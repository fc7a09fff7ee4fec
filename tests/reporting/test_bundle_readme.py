"""README.md of a bundle names what the model reads, in the words of each input's reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.io_spec import PRESENT, IOSpec, Port
from compress.models.shares import with_shares
from compress.reporting.bundle_readme import readme

LOGITS = Port("logits", "float32", (2,))


def test_readme_shows_a_value_for_each_input() -> None:
    ports = (Port("image", "uint8", (32, 32, 3), 0, 255, reading={"resize": "crop"}), Port("numbers", "float32", (3,)))
    text = readme("scales", IOSpec(ports, (LOGITS,)))
    assert text.startswith("# scales\n\nReads image (image file, any size) and numbers (numbers with spaces")
    assert 'predictor.predict(image="picture.png", numbers=[0.5] * 3)' in text
    assert "predict --image ... --numbers ..." in text and "image: uint8 of shape (32, 32, 3)" in text


def test_readme_says_that_inputs_may_be_left_out_and_asks_for_no_pattern() -> None:
    ports = (Port("image", "uint8", (32, 32, 3)), Port("numbers", "float32", (3,)), Port(PRESENT, "float32", (2,)))
    text = readme("scales", IOSpec(ports, (LOGITS,)))
    assert "any but one may be left out" in text and "predict --image ... --numbers ...\n" in text
    assert "any but one" not in readme("scales", IOSpec(ports[:2], (LOGITS,)))


def test_readme_says_what_the_second_output_is() -> None:
    ports = (Port("image", "uint8", (32, 32, 3)), Port("numbers", "float32", (3,)), Port(PRESENT, "float32", (2,)))
    text = readme("scales", with_shares(IOSpec(ports, (LOGITS,))))
    assert "`shares` (N, 2),\nhas image, numbers in that order, 1 together" in text
    assert "`shares`" not in readme("scales", IOSpec(ports, (LOGITS,)))


def test_readme_needs_no_example_of_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reader.py").write_text('OPTION, HELP = "--motion", "readings"\n')
    monkeypatch.setattr("compress.reporting.bundle_readme.modality", lambda name: type("Room", (), {"reader": tmp_path / "reader.py"}))
    assert 'predict(motion="...")' in readme("", IOSpec((Port("motion", "float32", (3, 2)),), (LOGITS,)))


def test_readme_says_for_which_places_the_model_answers() -> None:
    places = Port("logits", "float32", (16 * 16 * 3,), each=256, grid=16)
    spec = IOSpec((Port("image", "uint8", (128, 128, 3), 0, 255),), (places,))
    text = readme("scales", spec)
    assert (
        "each of 16 x 16 places" in text
        and "logits (N, 768) holds 3 numbers for each" in text
        and "predict --image ... --out mask.png" in text
    )
    assert IOSpec.from_json(spec.to_json()) == spec and "places" not in readme("scales", IOSpec(spec.inputs, (LOGITS,)))
