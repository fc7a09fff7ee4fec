"""From a source to a folder: layout, splits, and every kind of unusable row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.prepare import open_data, prepare
from compress.errors import DataError

BOTH = ("image", "text")


@pytest.fixture
def run(make_source: Callable, config: Callable, tmp_path: Path) -> Callable[..., dict]:
    """Prepares rows to tmp_path/out; keywords are those of the data section."""

    def prepared(rows: dict, modalities: tuple = BOTH, teacher: int | None = None, seed: int = 0, **changes: object) -> dict:
        sizes = {"image": {"size": 8}, "text": {"length": 8}}
        data = config(inputs={m: sizes[m] for m in modalities}, **changes)
        return prepare(
            make_source(rows),
            data,
            tmp_path / "out",
            teacher_inputs=config(inputs={"image": {"size": teacher}}).inputs if teacher else None,
            seed=seed,
            say=lambda line: None,
        )

    return prepared


def images_of(path: Path, split: str) -> set[bytes]:
    return {pixels.tobytes() for pixels in open_data(path).split(split).inputs["image"]}


def test_prepared_rows_point_to_their_inputs(rows: dict, run: Callable, tmp_path: Path) -> None:
    run(rows)
    data = open_data(tmp_path / "out")
    assert data.labels == ["blue", "green", "no", "red", "yes"] and data.kinds == ["colour", "presence"]
    test = data.split("test")
    assert len(test) == 12 and test.inputs["image"].shape == (6, 8, 8, 3) and len(test.inputs["text"]) == 2
    for row, expected in enumerate(rows["test"]):
        assert test.inputs["text"][test.rows["text"][row]].as_py() == expected["text"]
        assert data.labels[test.labels[row]] == expected["label"] and data.kinds[test.kinds[row]] == expected["kind"]
        pixel = {"blue": [0, 0, 255], "green": [0, 255, 0], "red": [255, 0, 0]}[rows["test"][row - row % 2]["label"]]
        assert test.inputs["image"][test.rows["image"][row], 3, 3].tolist() == pixel


def test_prepared_arrays_are_mapped_and_typed(rows: dict, run: Callable, tmp_path: Path) -> None:
    run(rows)
    split = open_data(tmp_path / "out").split("train")
    arrays = {"image": split.inputs["image"], "rows": split.rows["image"], "labels": split.labels, "kinds": split.kinds}
    assert all(isinstance(array, np.memmap) for array in arrays.values())
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "image": "uint8",
        "rows": "int32",
        "labels": "int32",
        "kinds": "int16",
    }


def test_teacher_images_have_their_own_size(rows: dict, run: Callable, tmp_path: Path) -> None:
    run(rows, teacher=16)
    split = open_data(tmp_path / "out").split("test")
    assert split.teacher_inputs["image"].shape == (6, 16, 16, 3) and split.inputs["image"].shape == (6, 8, 8, 3)
    assert split.teacher_inputs["text"] is split.inputs["text"]


def test_teacher_of_the_same_size_shares_the_images(rows: dict, run: Callable, tmp_path: Path) -> None:
    run(rows, teacher=8)
    test = open_data(tmp_path / "out").split("test")
    assert test.teacher_inputs["image"] is test.inputs["image"]
    assert not (tmp_path / "out" / "test" / "teacher_image.npy").exists()


def test_validation_is_cut_by_image(rows: dict, run: Callable, tmp_path: Path) -> None:
    for index in range(12):  # each image its own shade, far enough from the others to be no near duplicate
        Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(tmp_path / rows["train"][2 * index]["image"])
    report = run(rows, validation_fraction=0.25)
    assert report["validation"] == "cut from train by image"
    train, validation = images_of(tmp_path / "out", "train"), images_of(tmp_path / "out", "validation")
    assert (len(train), len(validation)) == (9, 3) and not train & validation
    assert report["splits"]["validation"]["rows"] == 6
    assert report["splits"]["validation"]["seen_in_train"] == {"image": 0, "text": 2}


def test_validation_of_the_source_is_taken_whole(rows: dict, run: Callable) -> None:
    report = run({**rows, "validation": rows["test"]})
    assert report["validation"] == "of the source" and report["splits"]["train"]["inputs"]["image"] == 12


def test_same_seed_same_split_other_seed_another(rows: dict, run: Callable, tmp_path: Path) -> None:
    def held_out(seed: int) -> list[int]:
        run(rows, seed=seed, validation_fraction=0.5)
        return open_data(tmp_path / "out").split("validation").labels.tolist()

    assert held_out(0) == held_out(0)
    assert len({tuple(held_out(seed)) for seed in range(5)}) > 1


def test_labelled_fraction_hides_all_rows_of_an_image(rows: dict, run: Callable, tmp_path: Path) -> None:
    report = run(rows, labelled_fraction=0.3, validation_fraction=0.17)  # 10 training images
    split = open_data(tmp_path / "out").split("train")
    per_image = [set((split.labels[split.rows["image"] == image] >= 0).tolist()) for image in range(10)]
    assert sorted(map(str, per_image)) == ["{False}"] * 7 + ["{True}"] * 3
    account = report["splits"]["train"]
    assert (account["labelled_inputs"], account["labelled_rows"], account["unlabelled_rows"]) == (3, 6, 14)


def test_limits_keep_whole_images_and_all_labels(rows: dict, run: Callable, tmp_path: Path) -> None:
    report = run(rows, train_limit=2, test_limit=1)
    assert {name: (split["rows"], split["inputs"]["image"]) for name, split in report["splits"].items()} == {
        "train": (4, 2),
        "validation": (2, 1),
        "test": (2, 1),
    }
    assert len(open_data(tmp_path / "out").labels) == 5


def test_text_alone_is_split_by_text(run: Callable, tmp_path: Path) -> None:
    rows = {split: [{"text": f"text {index % 10}", "label": str(index % 2)} for index in range(20)] for split in ("train", "test")}
    run(rows, modalities=("text",), validation_fraction=0.2)
    data = open_data(tmp_path / "out")
    train, validation = (set(data.split(name).inputs["text"].to_pylist()) for name in ("train", "validation"))
    assert len(train) == 8 and len(validation) == 2 and not train & validation
    assert data.kinds == [] and set(data.split("test").kinds.tolist()) == {-1}


def test_images_given_by_content_are_deduplicated(make_png: Callable, run: Callable, tmp_path: Path) -> None:
    contents = [make_png((shade, 0, 0), (8, 8)) for shade in range(4)]
    some = [{"image": contents[index % 4], "label": str(index % 2)} for index in range(12)]
    run({"train": some, "test": some}, modalities=("image",))
    split = open_data(tmp_path / "out").split("test")
    assert split.inputs["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3] and split.rows["image"].tolist() == [0, 1, 2, 3] * 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])  # ends inside the pixels


BAD = {
    "missing file": (lambda row, path: path.unlink(), 2),
    "broken image": (lambda row, path: truncate(path), 2),
    "empty text": (lambda row, path: row.update(text="  "), 1),
    "no image": (lambda row, path: row.update(image=None), 1),
    "no label": (lambda row, path: row.update(label=""), 1),
    "unknown answer": (lambda row, path: row.update(label="purple"), 1),
    "image too large": (lambda row, path: Image.new("RGB", (50, 50)).save(path), 2),
}


def spoil(rows: dict, reason: str, folder: Path) -> int:
    """Makes the third test row unusable; an image takes both of its rows along."""
    row = rows["test"][2]
    change, count = BAD[reason]
    change(row, folder / row["image"])
    return count


@pytest.mark.parametrize("reason", BAD)
def test_bad_row_stops_with_place_and_value(
    reason: str, rows: dict, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    count = spoil(rows, reason, tmp_path)
    with pytest.raises(DataError) as caught:
        run(rows)
    message = str(caught.value)
    assert f"{reason}: {count} row" in message and "test row 3: " in message and "on_bad_row: skip" in message
    if reason == "unknown answer":
        assert "'purple'" in message


@pytest.mark.parametrize("reason", BAD)
def test_bad_row_is_skipped_and_counted(reason: str, rows: dict, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    count = spoil(rows, reason, tmp_path)
    report = run(rows, on_bad_row="skip", teacher=16)
    assert report["skipped"]["rows"] == report["skipped"]["reasons"][reason]["count"] == count
    assert report["skipped"]["reasons"][reason]["examples"][0]["row"] == 3
    test = open_data(tmp_path / "out").split("test")
    left = [row for index, row in enumerate(rows["test"]) if not 2 <= index < 2 + count]
    assert [test.inputs["text"][code].as_py() for code in test.rows["text"]] == [row["text"] for row in left]
    assert len(test.inputs["image"]) == len(test.teacher_inputs["image"]) == (6 if count == 1 else 5)
    blue = [index for index in range(len(left)) if left[index]["label"] == "blue"]
    assert all(test.inputs["image"][test.rows["image"][index], 0, 0].tolist() == [0, 0, 255] for index in blue)


def test_bad_rows_of_all_kinds_come_in_one_error(rows: dict, run: Callable, tmp_path: Path) -> None:
    rows["train"][0]["text"] = ""
    rows["train"][1]["label"] = None
    (tmp_path / rows["train"][4]["image"]).unlink()
    for row in rows["test"][:9]:
        row["label"] = "purple"
    with pytest.raises(DataError) as caught:
        run(rows, validation_fraction=0.01)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("data: 13 unusable rows")
    assert sum("test row" in line for line in lines) == 5
    assert "  unknown answer: 9 rows" in lines and "  empty text: 1 row" in lines and "  no label: 1 row" in lines
    assert "allow_unlabelled" in lines[-1]


def test_allowed_empty_labels_are_unlabelled_in_train_only(rows: dict, run: Callable, tmp_path: Path) -> None:
    for row in rows["train"][:6]:
        row["label"] = None
    report = run(rows, allow_unlabelled=True, validation_fraction=0.2)
    assert report["splits"]["train"]["unlabelled_rows"] == 6
    assert report["splits"]["validation"]["unlabelled_rows"] == 0
    rows["test"][0]["label"] = None
    with pytest.raises(DataError, match="no label: 1 row"):
        run(rows, allow_unlabelled=True)


@pytest.mark.parametrize(
    ("spoil_rows", "message"),
    [
        (lambda rows: rows.pop("test"), "no test split"),
        (lambda rows: [row.pop("label") for row in rows["train"]], "train has no column 'label'"),
        (lambda rows: [row.pop("text") for row in rows["test"]], "test has no column 'text'.*data.options.columns.text"),
        (lambda rows: [row.update(label="same") for some in rows.values() for row in some], "1 labels .same.; a classifier needs"),
    ],
)
def test_unusable_table_is_refused(spoil_rows: Callable, message: str, rows: dict, run: Callable) -> None:
    spoil_rows(rows)
    with pytest.raises(DataError, match=message):
        run(rows)


def test_split_with_nothing_left_is_refused(rows: dict, run: Callable) -> None:
    for row in rows["test"]:
        row["label"] = "purple"
    with pytest.raises(DataError, match="no usable row is left for test; rows skipped in all splits: 12 with unknown answer"):
        run(rows, on_bad_row="skip")


def test_report_gives_counts_and_baselines(rows: dict, run: Callable, tmp_path: Path) -> None:
    report = run(rows, validation_fraction=0.01)  # 11 images left in train
    assert report == open_data(tmp_path / "out").report
    train = report["splits"]["train"]
    assert sum(train["label_counts"].values()) == 22 and train["kind_counts"] == {"colour": 11, "presence": 11}
    assert train["majority_label"] == "no" and train["majority_share"] == train["label_counts"]["no"] / 22
    # Of 12 test rows, 4 are "no"; knowing the text adds one colour of three, 2 rows.
    assert report["baselines"] == {"majority": pytest.approx(4 / 12), "text_alone": pytest.approx(6 / 12)}
