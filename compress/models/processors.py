"""Image processors of transformers, read from a model's folder without importing transformers: what they do to an image, in a recipe's words.

In: processor_config.json or preprocessor_config.json. Out: the words of teacher.inputs.image, and mean and deviation of the pixels. So a
teacher sees here what it saw where its accuracy was published; where it cannot (no square, BGR), that is an error or said in a note.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import DependencyError, RecipeError

FILES = ("processor_config.json", "preprocessor_config.json")  # the later one wins
RESAMPLINGS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
WARPED_FROM = 384  # ConvNeXT's processor cuts nothing from this size on

_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


_CUT_224 = {"crop_size": _square(224), "do_center_crop": True}
KINDS: dict[str, dict[str, Any]] = {  # class name without ImageProcessor -> what its files may leave out
    "ViT": {"size": _square(224), "resample": 2, **_HALF},
    "Beit": {"size": _square(224), "crop_size": _square(224), "do_center_crop": False, "resample": 3, **_HALF},
    "Bit": {"size": {"shortest_edge": 224}, **_CUT_224, "resample": 3, **_CLIP},
    "Blip": {"size": _square(384), "resample": 3, **_CLIP},
    "CLIP": {"size": {"shortest_edge": 224}, **_CUT_224, "resample": 3, **_CLIP},
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256, "resample": 3, **_HALF},
    "DeiT": {"size": _square(256), **_CUT_224, "resample": 3, **_HALF},
    "EfficientNet": {
        "size": _square(346),
        "crop_size": _square(289),
        "do_center_crop": False,
        "resample": 3,
        "rescale_offset": False,
        "include_top": True,
        **_HALF,
    },
    "Levit": {"size": {"shortest_edge": 224}, **_CUT_224, "resample": 3, **_IMAGENET},
    "MobileNetV1": {"size": {"shortest_edge": 256}, **_CUT_224, "resample": 2, **_HALF},
    "MobileNetV2": {"size": {"shortest_edge": 256}, **_CUT_224, "resample": 2, **_HALF},
    "PoolFormer": {"size": {"shortest_edge": 224}, **_CUT_224, "crop_pct": 0.9, "resample": 3, **_IMAGENET},
    "Pvt": {"size": _square(224), "resample": 3, **_IMAGENET},
    "Segformer": {"size": _square(512), "resample": 2, **_IMAGENET},
    "Siglip": {"size": _square(224), "resample": 3, **_HALF},
    "Vilt": {"size": {"shortest_edge": 384}, "size_divisor": 32, "resample": 3, **_HALF},
}


@dataclass(frozen=True)
class Processor:
    """What a processor does. `words` is empty where the folder does not say how images are brought to size."""

    words: dict[str, Any]  # size, resize, resampling, edge: see compress/modalities/image.py
    mean: list[float]  # of the three colours, as a share of 255; rescaling and every other step is in it
    deviation: list[float]
    note: str = ""  # how this differs from the processor, for the log


NO_IMAGES = Processor({}, [0.5] * 3, [0.5] * 3)  # of a model that sees none; its files may say how it hears


def read_processor(folder: Path, *, size: int | None = None) -> Processor:
    """The processor of the model in `folder`; `size`: pixels a side that the model is to see, where that is not the processor's own.

    Without a file: no words, and mean and deviation 0.5. Raises: RecipeError for a processor that our pixels cannot follow.
    """
    given = read_files(folder, part="image_processor")
    name = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "")
    kind = name.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if name and kind not in KINDS:
        raise RecipeError(
            f"teacher: {folder}: how a {name} prepares images is not known here; known are {', '.join(KINDS)}. If one of them does the same, "
            "name it in preprocessor_config.json as image_processor_type with size, resample, crop_size, image_mean and image_std"
        )
    steps = {**KINDS.get(kind, _HALF), **{key: value for key, value in given.items() if value is not None}}
    mean, deviation = _normalisation(steps, folder)
    if not steps.get("size"):
        return Processor({}, mean, deviation)
    words, note = _geometry(kind, steps, folder, size)
    return Processor(words, mean, deviation, note)


def read_files(folder: Path, *, part: str) -> dict[str, Any]:
    """The settings of one part of a processor, "image_processor" or "feature_extractor"; {} where there is no file.

    Raises: DependencyError for a file that cannot be read.
    """
    given: dict[str, Any] = {}
    for name in FILES:
        if (folder / name).is_file():
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
                given |= content.get(part, content)
            except (ValueError, AttributeError, TypeError) as error:
                raise DependencyError(f"teacher: {folder / name} is no processor that can be read: {error}; save it again") from error
    return given


def _normalisation(steps: Mapping[str, Any], folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation with which (pixel / 255 - mean) / deviation is what the processor gives."""
    scale = steps.get("rescale_factor", 1 / 255) if steps.get("do_rescale", True) else 1.0
    offset = 1.0 if steps.get("rescale_offset") and steps.get("do_rescale", True) else 0.0
    own_mean, own_deviation = _colours(steps["image_mean"], folder), _colours(steps["image_std"], folder)
    mean, deviation = (own_mean, own_deviation) if steps.get("do_normalize", True) else ([0.0] * 3, [1.0] * 3)
    if steps.get("include_top"):  # EfficientNet's: once more by the deviation alone
        deviation = [d * own for d, own in zip(deviation, own_deviation, strict=True)]
    whole = round(255 * scale, 12)  # 1/255 is not exact, and 0.5 shall stay 0.5
    return [(m + offset) / whole for m in mean], [d / whole for d in deviation]


def _colours(value: Any, folder: Path) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise RecipeError(f"teacher: {folder}: its processor has mean or deviation {value}; images here have three colours")
    return [float(v) for v in values]


def _geometry(kind: str, steps: Mapping[str, Any], folder: Path, size: int | None) -> tuple[dict[str, Any], str]:
    """The words, and a note where they differ from what the processor does."""
    resampling = RESAMPLINGS.get(steps.get("resample", 2))
    odd = [f"{key}: {steps[key]}" for key in ("do_flip_channel_order", "pad_size") if steps.get(key)]
    odd += [] if steps.get("do_resize", True) else ["do_resize: false"]
    odd += [] if resampling else [f"resample: {steps['resample']}"]
    if odd:
        raise RecipeError(f"teacher: {folder}: its processor has {', '.join(odd)}, which cannot be followed here")
    side, shorter = _side(steps["size"], KINDS.get(kind, {}).get("size", {}), folder)
    own, edge, note = side, side, ""  # what is left of an image whose (shorter) side was made `edge`
    if kind == "ConvNext":
        own = size or side
        shorter, edge = own < WARPED_FROM, int(own / steps["crop_pct"]) if own < WARPED_FROM else own
    elif steps.get("do_center_crop"):
        own = _side(steps["crop_size"], {}, folder)[0]
        if kind == "Levit" and shorter:
            edge = int(256 / 224 * side)
        elif kind == "PoolFormer":
            shorter, edge = True, int(side / steps["crop_pct"])
    elif shorter:
        shorter = False
        note = f"its processor keeps proportions (shorter side {own}); here every image is stretched to {size or own} x {size or own}"
    if edge < own:
        raise RecipeError(
            f"teacher: {folder}: its processor cuts {own} pixels out of {edge}, and pads what is missing; none is padded here"
        )
    words = {"size": size or own, "resize": "crop" if shorter else "stretch", "resampling": resampling}
    return {**words, "edge": None if edge == own else round(edge * (size or own) / own)}, note


def _side(value: Any, default: Mapping[str, int], folder: Path) -> tuple[int, bool]:
    """The side of a square, or of the shorter side (True)."""
    if isinstance(value, int):  # as older files have it, which mean what their class says
        return value, "shortest_edge" in default
    sides = {key: side for key, side in value.items() if side is not None} if isinstance(value, Mapping) else {}
    if set(sides) == {"shortest_edge"}:
        return sides["shortest_edge"], True
    if set(sides) == {"height", "width"} and sides["height"] == sides["width"]:
        return sides["height"], False
    raise RecipeError(f"teacher: {folder}: its processor makes images of {value}; images here are squares")
