"""Scenes of stamps: drawn alike each time, with masks that are the stamps' own shapes, and no stamp of test in train."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.stamp_scenes import KINDS, scene, stamp_scenes
from compress.errors import DataError, RecipeError

COLOURS = {"animals": (250, 0, 0), "food": (0, 250, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten stamps of two kinds, a disc of one colour each on nothing, a little darker from one to the next."""
    for kind, colour in COLOURS.items():
        for number in range(5):
            side = np.hypot(*np.mgrid[-10:11, -10:11]) <= 9
            pixels = np.dstack([*(np.full(side.shape, max(0, part - 5 * number)) for part in colour), 255 * side]).astype(np.uint8)
            path = tmp_path / "stamps" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            path.with_suffix(".txt").write_text(f"thing {number}\n")
    return tmp_path / "stamps"


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_masks_are_the_shapes_of_the_stamps(folder: Path) -> None:
    cut = [(Image.open(folder / "animals" / "0.png"), 1), (Image.open(folder / "food" / "0.png"), 2)]
    drawn = [scene(cut, 48, np.random.default_rng(seed)) for seed in range(10)]
    pictures, masks = (np.stack([opened(pair[place]) for pair in drawn]) for place in (0, 1))
    assert pictures.shape == (10, 48, 48, 3) and masks.shape == (10, 48, 48) and np.unique(masks).tolist() == [0, 1, 2]
    for number, colour in ((1, (250, 0, 0)), (2, (0, 250, 0))):
        is_it = (np.abs(pictures.astype(int) - colour) < 12).all(3)
        assert is_it[masks == number].mean() > 0.8  # but for edges, which are half see-through
        assert is_it[masks != number].mean() < 0.02


def test_the_same_options_draw_the_same_scenes_and_others_do_not(folder: Path) -> None:
    options = {"base": folder, "path": ".", "kinds": ["animals", "food"], "train": 4, "test": 2, "size": 32}
    first, again, other = (stamp_scenes(**options, seed=seed) for seed in (0, 0, 1))
    assert first.identity == again.identity != other.identity
    assert first.read()["train"].equals(again.read()["train"]) and not first.read()["train"].equals(other.read()["train"])
    assert stamp_scenes(**{**options, "size": 40}).identity != first.identity
    assert [table.num_rows for table in first.read().values()] == [4, 2]


def test_stamps_of_test_are_in_no_scene_of_train(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import compress.data.stamp_scenes as module

    used: list[set] = []
    draw = module._draw
    monkeypatch.setattr(module, "_draw", lambda stamps, *rest: used.append({stamp.name for stamp in stamps}) or draw(stamps, *rest))
    stamp_scenes(base=folder, path=".", kinds=["animals", "food"], train=1, test=1, size=16).read()
    assert used[0] and used[1] and not used[0] & used[1] and len(used[0] | used[1]) == 10


def test_options_that_cannot_be_are_told(folder: Path) -> None:
    with pytest.raises(DataError, match="no picture of household, plants, vehicles; there are animals, food"):
        stamp_scenes(base=folder, path=".", kinds=list(KINDS))
    with pytest.raises(RecipeError, match="0 and 400 scenes of 128 pixels a side; at least one each"):
        stamp_scenes(base=folder, path=".", kinds=["food"], train=0)
    with pytest.raises(RecipeError, match="data.options.fold: 5; folds are counted from 0"):
        stamp_scenes(base=folder, path=".", kinds=["food"], fold=5)
