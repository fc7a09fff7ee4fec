"""Image processors of transformers, followed without transformers: the same pixels, to two levels of 255."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.device.modalities.image import fit
from compress.errors import DependencyError, RecipeError
from compress.models.processors import KINDS, read_processor

SIZES = [(300, 400), (500, 333), (224, 224), (60, 90), (257, 1000)]
HALF = [0.5, 0.5, 0.5]


def picture(height: int, width: int) -> Image.Image:
    """Smooth random colours between 40 and 215: where a filter overshoots 0 or 255, the order of its two passes shows."""
    small = np.random.default_rng(height).integers(40, 216, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def write(folder: Path, content: Any, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder


def difference(reference: Any, folder: Path, image: Image.Image) -> float:
    """Levels of 255 by which our pixels, normalised, differ most from what transformers' processor gives."""
    processor = read_processor(folder)
    words = {key: value for key, value in processor.words.items() if key != "size"}
    ours = fit(image, height=processor.words["size"], width=processor.words["size"], **words)
    wanted = np.asarray(reference(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)  # (H, W, 3)
    assert wanted.shape == ours.shape
    mean, deviation = np.array(processor.mean), np.array(processor.deviation)
    return float(abs(((ours / 255 - mean) / deviation - wanted) * deviation * 255).max())


SETTINGS = [
    *((kind, {}) for kind in KINDS if kind != "Vilt"),
    ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
    ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 2}),  # ResNet's files
    ("EfficientNet", {"size": {"height": 300, "width": 300}, "do_center_crop": True, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ("EfficientNet", {"include_top": False, "do_normalize": False}),
    ("Beit", {"do_center_crop": True, "size": {"height": 256, "width": 256}}),
    ("ViT", {"resample": 1, "size": {"height": 96, "width": 96}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}),
    ("ViT", {"resample": 0}),
    ("ViT", {"do_rescale": False, "do_normalize": False}),
    ("CLIP", {"size": {"shortest_edge": 336}, "crop_size": {"height": 320, "width": 320}}),
    ("MobileNetV2", {"size": {"shortest_edge": 161}, "crop_size": {"height": 151, "width": 151}}),
]


@pytest.mark.parametrize(("kind", "settings"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "-".join(value) or "own")
def test_pixels_are_those_of_the_processor(kind: str, settings: dict, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    reference = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
    reference.save_pretrained(tmp_path)
    for size in SIZES:
        assert difference(reference, tmp_path, picture(*size)) < 2.01  # whole levels, but for the rounding of float32


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_the_class(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    own = getattr(transformers, f"{kind}ImageProcessorPil")()
    for key, value in KINDS[kind].items():
        found = getattr(own, key)
        if key in ("size", "crop_size"):
            found = {name: side for name, side in dict(found).items() if side is not None}
        assert (list(found) if key.startswith("image_") else found) == value, key


def test_vilt_sees_squares_as_its_processor_has_them(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    reference = transformers.ViltImageProcessorPil()
    reference.save_pretrained(tmp_path)
    assert difference(reference, tmp_path, picture(500, 500)) <= 2
    processor = read_processor(tmp_path)
    assert processor.words == {"size": 384, "resize": "stretch", "resampling": "bicubic", "edge": None}
    assert "keeps proportions (shorter side 384); here every image is stretched to 384 x 384" in processor.note


@pytest.mark.parametrize(
    ("content", "words"),
    [  # as older versions wrote them: one number for size, which means what the class says
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 224}, {"size": 224, "resize": "stretch", "edge": None}),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}, {"size": 224, "resize": "crop", "edge": None}),
        (
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875},
            {"size": 224, "resize": "crop", "edge": 256},
        ),
        (
            {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224},
            {"size": 224, "resize": "stretch", "edge": 256},
        ),
        (
            {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 64, "width": 64}},
            {"size": 64, "resize": "stretch", "edge": None},
        ),
        ({"image_processor_type": "LevitImageProcessor"}, {"size": 224, "resize": "crop", "edge": 256}),
        ({"size": 32}, {"size": 32, "resize": "stretch", "edge": None}),
    ],
)
def test_older_files_mean_what_their_class_says(content: dict, words: dict, tmp_path: Path) -> None:
    found = read_processor(write(tmp_path, content)).words
    assert {key: found[key] for key in words} == words


@pytest.mark.parametrize(
    ("content", "size", "words"),
    [
        ({"image_processor_type": "MobileNetV2ImageProcessor"}, 112, {"size": 112, "resize": "crop", "edge": 128}),  # 256 * 112 / 224
        ({"image_processor_type": "ViTImageProcessor"}, 64, {"size": 64, "resize": "stretch", "edge": None}),
        ({"image_processor_type": "ConvNextImageProcessor"}, 224, {"size": 224, "resize": "crop", "edge": 256}),  # cuts below 384
        ({"image_processor_type": "ConvNextImageProcessor", "size": 224}, 384, {"size": 384, "resize": "stretch", "edge": None}),
    ],
)
def test_other_size_keeps_the_share_that_is_cut(content: dict, size: int, words: dict, tmp_path: Path) -> None:
    found = read_processor(write(tmp_path, content), size=size).words
    assert {key: found[key] for key in words} == words


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (None, {}, (HALF, HALF)),
        ("preprocessor_config.json", {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}, ([0.4, 0.5, 0.6], [0.1, 0.2, 0.3])),
        ("processor_config.json", {"image_processor": {"image_mean": [0.0] * 3, "image_std": [0.2] * 3}}, ([0.0] * 3, [0.2] * 3)),
        ("preprocessor_config.json", {"do_normalize": False, "image_mean": [0.4] * 3}, ([0.0] * 3, [1.0] * 3)),
        ("preprocessor_config.json", {"rescale_factor": 1 / 255, "image_mean": 0.5}, (HALF, HALF)),
        ("preprocessor_config.json", {"rescale_factor": 2 / 255, "image_mean": 1.0, "image_std": 1.0}, (HALF, HALF)),  # 2 x / 255 - 1
    ],
)
def test_without_a_size_there_are_no_words(name: str | None, content: dict, expected: tuple, tmp_path: Path) -> None:
    if name:
        write(tmp_path, content, name)
    found = read_processor(tmp_path)
    assert (found.mean, found.deviation) == expected and found.words == {} and not found.note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"image_processor_type": "OwlViTImageProcessor"},
            "how a OwlViTImageProcessor prepares images is not known here; known are ViT, Beit",
        ),
        ({"size": {"height": 224, "width": 448}}, "makes images of .*; images here are squares"),
        ({"size": {"shortest_edge": 224, "longest_edge": 448}}, "images here are squares"),
        ({"size": 224, "do_resize": False}, "do_resize: false, which cannot be followed here"),
        ({"size": 224, "do_flip_channel_order": True}, "do_flip_channel_order: True"),
        ({"size": 224, "resample": 4}, "resample: 4"),
        ({"size": 224, "do_center_crop": True, "crop_size": 256}, "cuts 256 pixels out of 224"),
        ({"image_mean": [0.5]}, "images here have three colours"),
    ],
)
def test_processor_that_cannot_be_followed_is_refused(content: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        read_processor(write(tmp_path, content))


@pytest.mark.parametrize("text", ["{", "[1]", '{"image_processor": 3}'])
def test_file_that_is_no_processor_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(DependencyError, match="preprocessor_config.json is no processor that can be read"):
        read_processor(tmp_path)
