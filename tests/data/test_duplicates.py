"""What belongs together stays on one side of the cut, and what stands on both sides of train and test is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.data.duplicates import crossing, list_leaks
from compress.data.prepare import prepare
from compress.data.prepared import Split, open_data
from compress.data.source import Source
from compress.errors import DataError
from compress.recipe.rooms import recipe_type
from compress.tables import MODALITIES

SIZE = 32


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict]:
    """Prepares rows to tmp_path/out; `size`: pixels of the teacher's images; keywords are those of the data section."""
    section = recipe_type(MODALITIES).model_fields["data"].annotation

    def prepared(rows: dict[str, list[dict]], inputs: dict, teacher: dict | None = None, **changes: object) -> dict:
        config = section(source="manifest", inputs=inputs, **changes)
        apart = section(source="manifest", inputs=teacher or inputs).inputs
        tables = {split: pa.Table.from_pylist(some) for split, some in rows.items()}
        source = Source(identity="test", read=lambda: tables, licence="none")
        return prepare(source, config, tmp_path / "out", teacher_inputs=apart, seed=config.seed, say=lambda line: None)

    return prepared


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """(count, 40, 40, 3) uint8 of blurred noise, no two alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 10, 10, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(scene).resize((40, 40))) for scene in coarse])


def encode(pixels: np.ndarray, quality: int | None = None, size: int = 40, brighter: int = 0) -> bytes:
    """The content of a PNG file, or of a JPEG file of that quality."""
    file = io.BytesIO()
    image = Image.fromarray(np.clip(pixels.astype(int) + brighter, 0, 255).astype(np.uint8)).resize((size, size))
    image.save(file, "JPEG" if quality else "PNG", quality=quality or 75)
    return file.getvalue()


def pictures(some: np.ndarray, **others: object) -> list[dict]:
    return [{"image": encode(scene), "label": str(index % 2), **others} for index, scene in enumerate(some)]


def sentences(count: int, start: int = 0, **others: object) -> list[dict]:
    draw = np.random.default_rng(start)
    words = ["".join(draw.choice(list("abcdefghijklmnop"), 7)) for _ in range(12 * count)]
    return [{"text": " ".join(words[12 * i : 12 * i + 12]), "label": str(i % 2), **others} for i in range(count)]


IMAGES, TEXTS = {"image": {"size": SIZE}}, {"text": {"length": 16}}


def test_crossing_pairs_are_numbered_within_their_splits() -> None:
    pairs = np.array([[0, 1], [1, 4], [2, 7], [3, 5], [4, 5], [8, 0]])  # train 0 to 3, validation 4 to 6, test 7 to 8
    sizes = {"train": 4, "validation": 3, "test": 2}
    assert crossing(pairs, sizes, first="test", second="train").tolist() == [[1, 0], [0, 2]]
    assert crossing(pairs, sizes, first="validation", second="train").tolist() == [[0, 1], [1, 3]]


def test_near_duplicate_image_in_test_is_told(run: Callable, tmp_path: Path) -> None:
    some = scenes(30)
    test = pictures(scenes(10, seed=1))
    test[4]["image"] = encode(some[7], quality=80, size=36, brighter=6)
    report = run({"train": pictures(some), "test": test}, IMAGES, validation_fraction=0.1)
    near = report["splits"]["test"]["near_duplicates"]
    assert (near["of"], near["inputs"], near["rows"]) == ("image", 1, 1)
    assert (near["examples"][0]["row"], near["examples"][0]["train_row"]) == (5, 8)
    data = open_data(tmp_path / "out")
    assert np.flatnonzero(data.split("test").near_train).tolist() == [4] and not data.split("train").near_train.any()
    shown = [data.split(name).inputs["image"][near["examples"][0][key]] for name, key in (("test", "input"), ("train", "train_input"))]
    assert (
        np.abs(shown[0].astype(int) - shown[1]).mean() < 12 < np.abs(shown[0].astype(int) - data.split("train").inputs["image"][0]).mean()
    )
    assert list_leaks(report) == [
        "1 of 10 test images are near duplicates of training images (1 of 10 rows): figures on them may be remembered."
    ]


def test_near_duplicate_text_in_test_is_told(run: Callable) -> None:
    train = sentences(30)
    test = sentences(10, start=30)
    test[2]["text"] = train[5]["text"].upper().replace(" ", ", ", 3) + "!"
    report = run({"train": train, "validation": sentences(4, start=900), "test": test}, TEXTS)
    assert report["splits"]["test"]["near_duplicates"]["examples"][0]["train_value"] == train[5]["text"]


def test_nothing_is_told_of_data_without_leaks(run: Callable) -> None:
    report = run({"train": pictures(scenes(40)), "test": pictures(scenes(20, seed=1))}, IMAGES)
    assert list_leaks(report) == [] and report["kept_together"] == {"inputs": 0, "moved": 0}
    assert report["splits"]["test"]["groups"] is None


def test_numbers_are_not_looked_through(run: Callable, tmp_path: Path) -> None:
    rows = [{"numbers": f"{index} {index}", "label": str(index % 2)} for index in range(20)]
    report = run({"train": rows, "test": rows}, {"numbers": {"size": 2}})
    assert report["kept_together"] is None and report["splits"]["test"]["near_duplicates"] is None
    assert not open_data(tmp_path / "out").split("test").near_train.any()


@pytest.fixture
def copies() -> list[dict]:
    """30 scenes, three pictures of each; the label tells the scene's brightness, about 64 or 164 of 255."""
    rows = []
    for index, scene in enumerate(scenes(30)):
        forms: tuple[dict, ...] = ({}, {"quality": 85}, {"quality": 90, "size": 48})
        rows += [{"image": encode(scene // 2 + 100 * (index % 2), **form), "label": ("dark", "bright")[index % 2]} for form in forms]
    return rows


def brightness(split: Split) -> list[str]:
    return ["bright" if split.inputs["image"][code].mean() > 114 else "dark" for code in split.rows["image"]]


def test_near_duplicates_stay_on_one_side_of_the_cut(copies: list[dict], run: Callable, tmp_path: Path) -> None:
    test = [{**row, "label": "dark"} for row in pictures(scenes(4, seed=1))]
    report = run({"train": copies, "test": test}, IMAGES, validation_fraction=0.2)
    assert report["splits"]["validation"]["near_duplicates"]["inputs"] == 0
    assert report["kept_together"]["inputs"] == 90 and report["kept_together"]["moved"] > 0
    counts = {name: split["rows"] for name, split in report["splits"].items()}
    assert counts["train"] + counts["validation"] == 90 and counts["validation"] % 3 == 0 and 3 <= counts["validation"] <= 36


def test_inputs_follow_their_rows_through_the_cut(copies: list[dict], run: Callable, tmp_path: Path) -> None:
    copies[4]["image"] = b"no picture"
    both = {**IMAGES, "text": {"length": 8}}
    for index, row in enumerate(copies):
        row["text"] = f"is it {row['label']} or {index % 7}?"
    run({"train": copies, "test": copies[30:60]}, both, {"image": {"size": 24}}, validation_fraction=0.2, on_bad_row="skip", train_limit=60)
    data = open_data(tmp_path / "out")
    for name in ("train", "validation"):
        split = data.split(name)
        labels = [data.labels[label] for label in split.labels]
        assert labels == brightness(split) and len(split.teacher_inputs["image"]) == len(split.inputs["image"])
        assert all(label in split.inputs["text"][code].as_py() for label, code in zip(labels, split.rows["text"], strict=True))
        small = np.stack([np.asarray(Image.fromarray(pixels).resize((24, 24))) for pixels in split.inputs["image"]])
        assert np.abs(small.astype(int) - split.teacher_inputs["image"]).mean() < 5
    assert sum(len(data.split(name)) for name in ("train", "validation")) <= 78 and len(data.split("train")) <= 60


@pytest.fixture
def patients() -> list[dict]:
    """200 texts of 20 patients, who have between 1 and 19."""
    rows = sentences(190)
    for patient, start in enumerate(np.cumsum(np.arange(20))[:-1]):
        for row in rows[start : start + patient + 1]:
            row["group"] = f"p{patient}"
    return rows


def test_groups_stay_on_one_side_and_are_stored(patients: list[dict], run: Callable, tmp_path: Path) -> None:
    report = run({"train": patients, "test": sentences(9, start=500, group="p500")}, TEXTS, validation_fraction=0.2)
    data = open_data(tmp_path / "out")
    train, validation, test = (data.split(name).groups for name in ("train", "validation", "test"))
    assert isinstance(train, np.memmap) and train.dtype == np.int32 and not set(train) & set(validation)
    assert len(train) + len(validation) == 190 and abs(len(validation) - 38) <= 9 and len(set(test)) == 1 and test[0] not in train
    assert report["validation"] == "cut from train by group" and list_leaks(report) == []
    assert report["splits"]["validation"]["groups"]["groups"] == len(set(validation))


def test_group_on_both_sides_is_counted_with_examples(patients: list[dict], run: Callable) -> None:
    test = sentences(6, start=500, group="p3") + sentences(3, start=501, group="p900") + sentences(1, start=502, group=None)
    report = run({"train": patients, "test": test}, TEXTS)
    assert report["splits"]["test"]["groups"] == {
        "groups": 2,
        "rows_without": 1,
        "in_train": 1,
        "rows_in_train": 6,
        "examples": ["p3"],
    }
    assert list_leaks(report) == ["1 of 2 groups of test are in train too (p3; 6 of 10 rows): figures on them say little about new groups."]


def test_groups_of_a_given_validation_are_told(patients: list[dict], run: Callable) -> None:
    report = run({"train": patients, "validation": sentences(4, start=500, group="p3"), "test": sentences(4, start=501)}, TEXTS)
    assert report["splits"]["validation"]["groups"]["in_train"] == 1 and report["kept_together"] is None


def test_groups_of_numbers_are_names(run: Callable, tmp_path: Path) -> None:
    rows = [{**row, "group": index // 2} for index, row in enumerate(sentences(40))]
    run({"train": rows, "test": rows[:4]}, TEXTS)
    assert set(open_data(tmp_path / "out").split("test").groups) == {0, 1}


def test_clusters_are_groups_and_inputs_without_one(run: Callable, tmp_path: Path) -> None:
    test = [{"text": text, "label": "0", "group": group} for text, group in (("a", "p"), ("b", "p"), ("c", None), ("d", ""), ("c", None))]
    run({"train": sentences(20), "test": test}, TEXTS)
    clusters = open_data(tmp_path / "out").split("test").clusters.tolist()
    assert clusters[0] == clusters[1] and clusters[2] == clusters[4] and len({clusters[0], clusters[2], clusters[3]}) == 3


def test_single_group_cannot_be_cut(run: Callable) -> None:
    with pytest.raises(DataError, match="no validation can be cut from train: all its labelled rows belong to one group"):
        run({"train": sentences(9, group="p1"), "test": sentences(3, start=500)}, TEXTS)


def test_bad_rows_are_told_before_a_cut_that_they_make_impossible(run: Callable) -> None:
    rows = sentences(9)
    for row in rows[1:]:
        row["text"] = ""
    with pytest.raises(DataError, match="empty text: 8 rows"):
        run({"train": rows, "test": rows[:1]}, TEXTS)


def test_label_of_a_single_input_is_learnt_and_told(run: Callable, tmp_path: Path) -> None:
    rows = sentences(40)
    rows[11]["label"] = "rare"
    for seed in range(4):
        report = run({"train": rows, "test": sentences(9, start=500)}, TEXTS, validation_fraction=0.4, seed=seed)
        assert report["splits"]["train"]["label_counts"]["rare"] == 1
    assert list_leaks(report) == [
        "validation has no row of 1 label (rare), which train has.",
        "test has no row of 1 label (rare), which train has.",
    ]


def test_labels_that_a_limit_leaves_out_of_train_are_told(run: Callable) -> None:
    rows = sentences(40)
    for index, row in enumerate(rows):
        row["label"] = str(index % 10)
    report = run({"train": rows, "test": sentences(20, start=500)}, TEXTS, train_limit=4)
    told = [line for line in list_leaks(report) if line.startswith("train")]
    assert len(told) == 1 and "no labelled row of 6 labels" in told[0]
