"""Hugging Face `datasets`: local folders, pinned ids, and no network."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.data.hub import hub
from compress.data.prepare import open_data, prepare
from compress.errors import DataError, DependencyError, RecipeError

datasets = pytest.importorskip("datasets", reason="the extra for Hugging Face datasets is not installed")
REVISION = "0" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def saved(rows: dict, tmp_path: Path) -> Path:
    """A DatasetDict on disk with decodable images and numbered classes whose order is not alphabetical."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["yes", "unused", "no", "red", "green", "blue"]),
            "kind": datasets.Value("string"),
        }
    )
    tables = {
        split: datasets.Dataset.from_list([{**row, "image": str(tmp_path / row["image"])} for row in some], features=features)
        for split, some in rows.items()
    }
    datasets.DatasetDict({"train": tables["train"], "eval": tables["test"]}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_saved_folder_gives_undecoded_images_and_class_names(saved: Path, make_png: Callable, rows: dict) -> None:
    table = hub(base=saved.parent, folder="saved", test="eval").read()["train"]
    assert table["image"][0].as_py() == make_png((0, 0, 255))
    assert [str(label) for label in table["label"]] == [row["label"] for row in rows["train"]]


def test_saved_folder_keeps_the_order_of_its_classes(saved: Path, config: Callable, tmp_path: Path) -> None:
    source = hub(base=saved.parent, folder="saved", test="eval", validation="eval")  # each image has labels of its own
    report = prepare(source, config(), tmp_path / "out", say=print)
    assert open_data(tmp_path / "out").labels == ["yes", "no", "red", "green", "blue"]
    assert report["splits"]["train"]["inputs"]["image"] == 3  # images of one content are one input: 3 colours


def test_unlabelled_classes_become_null(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, -1, None]}, features=features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    assert hub(base=tmp_path, folder="saved").read()["train"]["label"].to_pylist() == ["b", None, None]


def test_lists_of_classes_become_tags(tmp_path: Path) -> None:
    tags = datasets.List(datasets.ClassLabel(names=["a", "b", "c"]))
    features = datasets.Features({"text": datasets.Value("string"), "label": tags})
    rows = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "label": [[2, 0], [], None]}, features=features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    assert hub(base=tmp_path, folder="saved").read()["train"]["label"].to_pylist() == [["c", "a"], [], None]


def test_folder_of_parquet_files_is_loaded(rows: dict, tmp_path: Path) -> None:
    for split, some in rows.items():
        datasets.Dataset.from_list(some).remove_columns("image").to_parquet(str(tmp_path / "files" / f"{split}-00000-of-00001.parquet"))
    tables = hub(base=tmp_path, folder="files").read()
    assert tables["test"]["text"].to_pylist() == [row["text"] for row in rows["test"]]


def test_image_folder_is_loaded(rows: dict, make_png: Callable, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
            (tmp_path / "files" / split / label).mkdir(parents=True)
            (tmp_path / "files" / split / label / "a.png").write_bytes(make_png(colour))
    table = hub(base=tmp_path, folder="files").read()["train"]
    assert [str(label) for label in table["label"]] == ["blue", "red"]
    assert Path(table["image"][0].as_py()).read_bytes() == make_png((0, 0, 255))


def test_folder_identity_follows_its_files(saved: Path) -> None:
    first = hub(base=saved.parent, folder="saved").identity
    assert first == hub(base=saved.parent, folder="saved").identity
    (saved / "note.txt").write_text("changed")
    assert hub(base=saved.parent, folder="saved").identity != first


def test_missing_split_lists_the_others(saved: Path) -> None:
    with pytest.raises(DataError, match="data.options.test: no split 'test'; there are train, eval"):
        hub(base=saved.parent, folder="saved").read()


def test_folder_without_splits_is_refused(saved: Path) -> None:
    with pytest.raises(DataError, match="one Dataset without splits"):
        hub(base=saved, folder="train").read()


def test_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="datasets cannot load it"):
        hub(base=tmp_path, folder="empty").read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of id and folder"),
        ({"id": "a/b", "folder": "c"}, "one of id and folder"),
        ({"id": "a/b"}, "data.options.revision: None"),
        ({"id": "a/b", "revision": "main"}, "40 hex digits"),
        ({"folder": ".", "revision": REVISION}, "a folder has no revision"),
    ],
)
def test_id_needs_a_pinned_revision(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        hub(base=tmp_path, **options)


def test_id_is_its_own_identity_without_any_request(tmp_path: Path) -> None:
    assert hub(base=tmp_path, id="a/b", revision=REVISION).identity == f"hub a/b@{REVISION}"


def test_id_without_network_ends_soon_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    start = time.monotonic()
    with pytest.raises(DependencyError, match=r"no network to fetch a/b@0+ .*(?s:.*)data.options.folder"):
        hub(base=tmp_path, id="a/b", revision=REVISION).read()
    assert time.monotonic() - start < 10


def test_columns_of_heads_are_joined_and_their_classes_named(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "state": datasets.ClassLabel(names=["up", "down"]), "cost": datasets.Value("float64")}
    )
    rows = datasets.Dataset.from_list([{"text": "a", "state": 1, "cost": 2.5}, {"text": "b", "state": -1, "cost": None}], features=features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    table = hub(base=tmp_path, folder="saved", data_heads={"state": "state", "price": "cost"}).read()["train"]
    assert table["label"].to_pylist() == [{"state": "down", "price": 2.5}, {"state": None, "price": None}]
    with pytest.raises(DataError, match="no column 'size' for data.heads.size"):
        hub(base=tmp_path, folder="saved", data_heads={"size": "size"}).read()
