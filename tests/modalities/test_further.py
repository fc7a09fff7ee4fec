"""Further rows: pairings join inputs that are there, the same for the same seed, and pass rows that lack one; parts are joined in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from compress.data.prepared import Split
from compress.errors import RecipeError
from compress.io_spec import PRESENT
from compress.modalities.further import Further, draw_pairings, joined, read_further, write_further
from compress.recipe.grammar import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def split_of(rows: dict[str, list[int]], present: list[list[int]] | None = None) -> Split:
    """A split of pictures, texts and, where `present` says which rows have which, the inputs that are there."""
    which = {m: np.array(numbers, np.int32) for m, numbers in rows.items()}
    inputs = {"image": np.zeros((9, 2, 2, 3), np.uint8), "text": pa.array([f"text {n}" for n in range(9)])}
    if present is not None:
        inputs[PRESENT] = np.array(present, np.float32)
    zeros = np.zeros(len(which["image"]), np.int32)
    return Split("train", inputs, which, zeros, zeros.astype(np.int16), zeros - 1, zeros.astype(bool), inputs)


def test_each_picture_meets_texts_of_other_rows() -> None:
    drawn = draw_pairings(split_of({"image": [0, 0, 1, 2], "text": [3, 4, 5, 6]}), 200, seed=0)
    assert len(drawn) == 600
    assert drawn.rows["image"].tolist() == [0] * 200 + [1] * 200 + [2] * 200  # by picture, not by row
    for picture in range(3):
        found, counts = np.unique(drawn.rows["text"][drawn.rows["image"] == picture], return_counts=True)
        assert found.tolist() == [3, 4, 5, 6]
        assert counts.min() > 25  # of 50 on average
    assert drawn.inputs is None


def test_same_seed_same_pairings() -> None:
    split = split_of({"image": [0, 1, 2, 3], "text": [3, 4, 5, 6]})
    one, again, other = (draw_pairings(split, 8, seed=seed).rows["text"].tolist() for seed in (0, 0, 1))
    assert one == again != other


def test_rows_that_lack_an_input_are_not_paired() -> None:
    rows = {"image": [0, 1, 2, 3], "text": [3, 4, 5, 6], PRESENT: [0, 1, 0, 2]}
    drawn = draw_pairings(split_of(rows, [[1, 1], [0, 1], [1, 0]]), 50, seed=0)
    assert set(drawn.rows["image"].tolist()) == {0, 2}
    assert set(drawn.rows["text"].tolist()) == {3, 5}
    assert set(drawn.rows[PRESENT].tolist()) == {0}


def test_nothing_to_pair_gives_no_rows() -> None:
    assert len(draw_pairings(split_of({"image": [0], "text": [1], PRESENT: [0]}, [[0, 1]]), 4, seed=0)) == 0


def test_parts_stand_one_behind_the_other_and_survive_the_disk(tmp_path: Path) -> None:
    worded = Further({"image": np.array([0, 1]), "text": np.array([9, 10])}, "text", pa.array(["new", "newer"]))
    paired = Further({"text": np.array([4]), "image": np.array([2])})
    both = joined([worded, paired])
    assert both
    write_further(tmp_path, both)
    for found in (both, read_further(tmp_path)):
        assert found
        assert found.inputs is not None
        assert (found.modality, found.inputs.to_pylist(), len(found)) == ("text", ["new", "newer"], 3)
        assert {m: which.tolist() for m, which in found.rows.items()} == {"image": [0, 1, 2], "text": [9, 10, 4]}
    assert joined([]) is None
    (tmp_path / "alone").mkdir()
    write_further(tmp_path / "alone", paired)
    found = read_further(tmp_path / "alone")
    assert found
    assert (found.inputs, found.rows["text"].tolist()) == (None, [4])


ANSWERS = "{source: answers, path: a.csv, form: logits}"


@pytest.mark.parametrize(
    ("recipe", "override", "expected"),
    [
        ("mobile_vqa", f"teacher={ANSWERS}", "a table has no answers to what nobody asked; set it to 0"),
        ("mobile_vqa", f"teachers=[{ANSWERS}, {ANSWERS}]", "several teachers have no answers in common but those to the data's own rows"),
        ("retrieval_stamps", "seed=1", "retrieval is learnt from pairs that belong together; leave it out"),
    ],
)
def test_pairings_are_refused_where_nobody_answers_them(recipe: str, override: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / f"{recipe}.yaml", ["distill.augment.pairings=2", override])
    assert f"-o distill.augment.pairings=2: {expected}" in str(caught.value)
