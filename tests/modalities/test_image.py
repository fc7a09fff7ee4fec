"""Pictures in their room: the form that a port carries, how many views there are, and a report's picture pixel by pixel."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sections import data_section, distill_section

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.modalities.modality import modality

ROOM = modality("image")


def words(**given: Any) -> Any:
    """The words of data.inputs.image."""
    return data_section(source="manifest", inputs={"image": {"size": 32, **given}}).inputs.get("image")


def augment(**given: Any) -> Any:
    """The words of distill.augment.image."""
    return distill_section(augment={"image": given}).augment.get("image")


def test_port_carries_how_an_image_is_brought_to_its_size() -> None:
    port = ROOM.port(words(resize="crop", resampling="bicubic", edge=40), None)
    assert port == Port("image", "uint8", (32, 32, 3), 0, 255, reading={"resize": "crop", "resampling": "bicubic", "edge": 40})


@pytest.mark.parametrize("given", [{"edge": 31}, {"edge": 64, "resize": "pad"}])
def test_edge_that_leaves_nothing_to_cut_is_refused(given: dict) -> None:
    with pytest.raises(RecipeError, match=r"inputs\.image: edge \d+ with size 32 and resize \w+: .*; leave edge out, or raise it"):
        ROOM.port(words(**given), None)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 1),
        ({"flip": True}, 2),
        ({"shift": 1}, None),
        ({"crop": 0.9}, None),
        ({"rotate": 1}, None),
        ({"sketch": 0.5}, None),
        ({"colour": 0.1, "flip": True}, None),
    ],
)
def test_views_are_without_end_unless_they_are_mirrored_alone(given: dict, count: int | None) -> None:
    assert ROOM.most_variants(augment(**given)) == count


def test_every_second_variant_is_mirrored_where_that_is_asked_for() -> None:
    mirrored = [ROOM.variant(augment(flip=True, shift=2), 7, number) for number in range(4)]
    assert mirrored == [(), (7, 1, True, 2, 1.0, 0.0, 0.0, 0.0), (7, 2, False, 2, 1.0, 0.0, 0.0, 0.0), (7, 3, True, 2, 1.0, 0.0, 0.0, 0.0)]
    assert not any(variant[2] for number in range(1, 4) if (variant := ROOM.variant(augment(shift=2), 7, number)))


def test_input_itself_is_not_copied() -> None:
    values = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    assert ROOM.vary(values, (), np.arange(2)) is values


@pytest.mark.parametrize(("size", "factor"), [((5, 7), 18), ((64, 64), 2), ((100, 130), 1)])  # 128 // 7, 128 // 64; none is made smaller
def test_report_shows_whole_pixels(size: tuple[int, int], factor: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    shown = ROOM.show(pixels, 1)
    content = base64.b64decode(shown.partition("base64,")[2].removesuffix('">'))
    found = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(found, pixels[1].repeat(factor, 0).repeat(factor, 1))


def test_each_form_of_an_image_is_a_file_of_its_own(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)).save(tmp_path / "a.png")

    class One:
        keys = None

        def __len__(self) -> int:
            return 1

        def value(self, index: int) -> str:
            return str(tmp_path / "a.png")

        def shown(self, index: int) -> str:
            return "a.png"

    failures = ROOM.store(One(), {"image": words(size=8), "teacher_image": words(size=16, resize="pad")}, folder=tmp_path, threads=1)
    assert failures == {}
    assert ROOM.open(tmp_path, "image").shape == (1, 8, 8, 3)
    teacher = ROOM.open(tmp_path, "teacher_image")
    assert teacher.shape == (1, 16, 16, 3) and (teacher[0, :4] == 128).all()  # 20 x 40 is 8 x 16 with 4 rows of grey above and below
