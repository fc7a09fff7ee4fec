"""What each modality makes for a foreign file: every room that ships says it, and the numbers are those that such files are trained on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.modalities.modality import modality
from compress.recipe.declarations import class_literal
from compress.tables import MODALITIES


def computed(value: np.ndarray, steps: list[tuple[str, Any]]) -> np.ndarray:
    """The steps in NumPy."""
    arithmetic = {
        "Sub": np.subtract,
        "Div": np.divide,
        "Mul": np.multiply,
        "Transpose": np.transpose,
        "Cast": lambda x, kind: x.astype(kind),
    }
    for name, constant in steps:
        value = arithmetic[name](value, constant)
    return value


def words_of(room: str, **given: Any) -> SimpleNamespace:
    """The words of a feed with their defaults."""
    declared = class_literal(MODALITIES[room], "words")["feed"]
    return SimpleNamespace(**{word: says.get("default") for word, says in declared.items()} | given)


@pytest.mark.parametrize(
    ("pixels", "black", "white"),
    [("bytes", 0, 255), ("unit", 0, 1), ("half", -1, 1), ("imagenet", -0.485 / 0.229, 0.515 / 0.229), ("clip", -1.79226, 1.93034)],
)
def test_pixels_are_in_the_numbers_of_the_word(pixels: str, black: float, white: float) -> None:
    images = np.stack([np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 255, np.uint8)])  # (N, H, W, 3)
    for layout, shape in (("nchw", (2, 3, 2, 3)), ("nhwc", (2, 2, 3, 3))):
        ((name, steps),) = modality("image").feed(words_of("image", pixels=pixels, layout=layout)).items()
        made = computed(images, steps)
        red = made[:, 0] if layout == "nchw" else made[..., 0]
        assert name == "pixel_values" and made.shape == shape
        np.testing.assert_allclose([red[0].mean(), red[1].mean()], [black, white], atol=1e-4)


def test_tokens_bring_mask_and_types_where_they_are_asked_for() -> None:
    ids = np.array([[5, 6, 1, 1]])
    made = modality("text").feed(words_of("text", mask="attention_mask", types="token_type_ids"), padding=1)
    found = {name: computed(ids, steps).astype(int).tolist() for name, steps in made.items()}
    assert found == {"input_ids": [[5, 6, 1, 1]], "attention_mask": [[1, 1, 0, 0]], "token_type_ids": [[0, 0, 0, 0]]}
    assert list(modality("text").feed(words_of("text"))) == ["input_ids"]


def test_samples_are_a_share_of_full_scale() -> None:
    ((name, steps),) = modality("audio").feed(words_of("audio")).items()
    assert name == "input_values" and computed(np.array([[-32768, 16384]]), steps).tolist() == [[-1.0, 0.5]]


def test_numbers_are_as_they_are() -> None:
    assert modality("numbers").feed(words_of("numbers", name="features")) == {"features": []}
