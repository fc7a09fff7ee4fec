"""Scenes of Tux Paint's stamps: pictures drawn here, of a few stamps on a blurred background each, with masks that say which kind lies where.

A stamp's own transparency is its mask, so every pixel is labelled rightly. Stamps of test are in no scene of train. See stamps.py for how to get
them; the same options draw the same scenes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.source import Source
from compress.data.stamps import Stamp, check_fold, deal_test, digest, find_stamps
from compress.errors import DataError, RecipeError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

KINDS = ("animals", "food", "household", "plants", "vehicles")
MOST = 3  # stamps of a scene
SIDES = (0.35, 0.75)  # of a stamp's longer side, as shares of the scene's
OPAQUE = 128  # alpha from which a pixel is the stamp's


def stamp_scenes(
    *,
    base: Path,
    path: str | None = None,
    kinds: list[str] | None = None,
    train: int = 1000,
    test: int = 400,
    size: int = 128,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
) -> Source:
    """`train` + `test` scenes of `size` pixels a side, drawn by `seed`: 1 to 3 stamps of the categories `kinds` on a background, with masks.

    `path` as for stamps. A mask has 0 for the background and 1, 2, ... for the kinds in the order given, which data.names should say:
    [background, animals, food, household, plants, vehicles]. Scenes of test are of the stamps of the `fold`th of `folds` parts.
    """
    check_fold(fold, folds)
    chosen = list(kinds or KINDS)
    if not 8 <= size <= 1024 or min(train, test) < 1:
        raise RecipeError(f"data.options: {train} and {test} scenes of {size} pixels a side; at least one each, of 8 to 1,024 pixels")
    found, _ = find_stamps(base, path, [])
    kept = [stamp for stamp in found if stamp.category in chosen]
    if absent := sorted(set(chosen) - {stamp.category for stamp in kept}):
        raise DataError(
            f"data.options.kinds: no picture of {', '.join(absent)}; there are {', '.join(sorted({s.category for s in found}))}"
        )
    held = deal_test(kept, folds=folds, fold=fold, seed=seed)
    parts = {"train": [s for s in kept if s.name not in held], "test": [s for s in kept if s.name in held]}

    def read() -> dict[str, pa.Table]:
        counts = {"train": train, "test": test}
        return {split: _draw(stamps, chosen, counts[split], size, (seed, number)) for number, (split, stamps) in enumerate(parts.items())}

    options = f"{','.join(chosen)} {train} {test} {size} {folds} {fold} {seed}"
    return Source(identity=f"stamp_scenes {digest(kept)} {options}", read=read, licence="GPL-2 (the artists of Tux Paint)")


def _draw(stamps: list[Stamp], kinds: list[str], count: int, size: int, seed: tuple[int, int]) -> pa.Table:
    """A table of scenes: `image` and `mask` hold PNG files."""
    import numpy as np
    import pyarrow as pa

    cut = [(_open(stamp.picture, size), 1 + kinds.index(stamp.category)) for stamp in stamps]
    scenes = [scene(cut, size, np.random.default_rng((*seed, number))) for number in range(count)]
    return pa.table({"image": pa.array([one for one, _ in scenes], pa.binary()), "mask": pa.array([one for _, one in scenes], pa.binary())})


def scene(stamps: list[tuple[Any, int]], size: int, draw: np.random.Generator) -> tuple[bytes, bytes]:
    """A picture and its mask as PNG files, of stamps (PIL images with alpha, and what their pixels are in the mask)."""
    import numpy as np
    from PIL import Image

    colours = Image.fromarray(draw.integers(0, 256, size=(5, 5, 3), dtype=np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    grain = draw.normal(0, 10, size=(size, size, 3))
    picture = Image.fromarray(np.clip(np.asarray(colours, np.float64) + grain, 0, 255).astype(np.uint8))
    mask = Image.new("L", (size, size))
    for place in draw.integers(len(stamps), size=draw.integers(1, MOST + 1)):
        stamp, kind = stamps[place]
        scale = draw.uniform(*SIDES) * size / max(stamp.size)
        width, height = (max(1, round(side * scale)) for side in stamp.size)
        shown = stamp.resize((width, height), Image.Resampling.BILINEAR)
        corner = (int(draw.integers(0, size - width + 1)), int(draw.integers(0, size - height + 1)))
        alpha = shown.getchannel("A")
        picture.paste(shown, corner, alpha)
        mask.paste(kind, (*corner, corner[0] + width, corner[1] + height), alpha.point([0] * OPAQUE + [255] * (256 - OPAQUE)))
    return _png(picture), _png(mask)


def _open(path: Path, size: int) -> Any:
    """A stamp in mode RGBA, at most as large as it is shown."""
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGBA")
    image.thumbnail((size, size))
    return image


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
