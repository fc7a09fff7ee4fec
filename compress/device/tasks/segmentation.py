"""A class for each place of a picture, by the largest of its logits, and the mask of the picture in its own size."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..image_file import pillow, shown_size
from ..modalities.image import place_of

IGNORED = 255  # in a mask: no class


def answer(outputs: dict[str, np.ndarray], labels: Sequence[str], *, facts: Mapping[str, Any], top: int = 3) -> dict[str, Any]:
    """{shares: [{label, share}], mask: [[class]], reads} of the first row: outputs["logits"] (1, P K), P places of a square, row after row.

    reads: how the square was made of a picture: its pixels a side, `resize` and `edge`.
    """
    classes = outputs["logits"][0].reshape(facts["grid"], facts["grid"], len(labels)).argmax(2)  # (S, S)
    return {
        "shares": shares(classes, labels),
        "mask": classes.tolist(),
        "reads": {name: facts[name] for name in ("size", "resize", "edge")},
    }


def beside(answer: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with `png`, a mask of the picture's own size as a PNG in base64; 255 where the model saw nothing of the picture."""
    picture = given["image"]
    size = picture.shape[1::-1] if isinstance(picture, np.ndarray) else shown_size(picture)
    mask = enlarge(np.asarray(answer["mask"], np.uint8), size, **answer["reads"])
    return {**answer, "width": size[0], "height": size[1], "png": base64.b64encode(as_png(mask)).decode()}


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer as `predict` prints it: the share of each class that is there, the largest first, and where the mask lies."""
    told = [f"{100 * entry['share']:5.1f} %  {entry['label']}" for entry in answer["shares"]]
    return told + ([f"mask: {answer['file']}"] if "file" in answer else [])


def save(answer: dict[str, Any], given: Mapping[str, Any], out: str | None) -> dict[str, Any]:
    """The answer with `file`, where its PNG now lies, in place of `png`: `out`, or beside the picture. Raises: DeviceError."""
    path = Path(out) if out else Path(given["image"]).with_suffix(".mask.png")
    try:
        path.write_bytes(base64.b64decode(answer["png"]))
    except OSError as error:
        raise DeviceError(f"{path}: the mask cannot be written ({error.strerror}); give --out FILE") from error
    return {**{name: value for name, value in answer.items() if name != "png"}, "file": str(path)}


def decisions(logits: np.ndarray, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(R P,) half of how far the two largest of a place's logits lie apart, and (R P,) which is the largest, of all places of (R, P K)."""
    by_place = logits.reshape(-1, len(facts["names"]))
    top = np.partition(by_place, -2, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]) / 2, by_place.argmax(1)


def shares(classes: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """[{label, share}] of the places (S, S) that have a class, the largest share first; classes that are not there are left out."""
    counts = np.bincount(classes[classes < len(labels)].astype(np.int64), minlength=len(labels))
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return [{"label": labels[k], "share": float(counts[k] / counts.sum())} for k in order]


def enlarge(mask: np.ndarray, picture: tuple[int, int], *, size: int, resize: str, edge: int | None) -> np.ndarray:
    """(H, W) uint8 classes for a picture of that (width, height) of (S, S) for what the model saw of it; IGNORED elsewhere.

    A pixel takes the class that is nearest by bilinear interpolation of the places that have it, so that edges are smooth.
    """
    Image = pillow()
    seen, inside = place_of(picture, side=size, resize=resize, edge=edge)
    left, top, right, bottom = (round(end) for end in seen)
    box = tuple(end * len(mask) / size for end in inside)
    best = np.full((bottom - top, right - left), -1, np.int16)
    found = np.zeros(best.shape, np.uint8)
    for k in np.unique(mask):
        near = Image.fromarray(np.uint8(255) * (mask == k)).resize(best.shape[::-1], Image.Resampling.BILINEAR, box=box)
        nearer = np.asarray(near) > best
        best[nearer], found[nearer] = np.asarray(near)[nearer], k
    whole = np.full(picture[::-1], IGNORED, np.uint8)
    whole[top:bottom, left:right] = found
    return whole


def as_png(mask: np.ndarray) -> bytes:
    """A palette PNG of classes (H, W): pixel value = class."""
    image, file = pillow().fromarray(mask.astype(np.uint8)), io.BytesIO()
    image.putpalette(palette().tobytes())
    image.save(file, "PNG")
    return file.getvalue()


def palette() -> np.ndarray:
    """(256, 3) uint8: a colour for each class, as PASCAL VOC has them: the bits of the number, dealt to the colours, the lowest bit heaviest."""
    numbers = np.arange(256)
    colours = [sum(((numbers >> (3 * place + channel)) & 1) << (7 - place) for place in range(8)) for channel in range(3)]
    return np.stack(colours, 1).astype(np.uint8)
