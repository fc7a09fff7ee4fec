"""ImageNet's folders: which photographs are read under which names, and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.data.imagenet import imagenet
from compress.errors import DataError

NAMES = {"n02": "golf ball", "n01": "tench, Tinca tinca"}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three photographs of each of three classes to train on, one to test. They are never opened here, so any bytes will do."""
    for part, count in (("train", 3), ("val", 1)):
        for number in ("n01", "n02", "n03"):
            (tmp_path / "net" / part / number).mkdir(parents=True)
            for index in range(count):
                (tmp_path / "net" / part / number / f"{number}_{index}.JPEG").write_bytes(b"x" * (index + 1))
    (tmp_path / "net" / "train" / "n01" / "notes.txt").write_text("no picture")
    return tmp_path


def test_rows_are_the_named_classes_in_their_order(folders: Path) -> None:
    tables = imagenet(base=folders, path="net", names=NAMES).read()
    assert [(Path(row["image"]).name, row["label"]) for row in tables["test"].to_pylist()] == [
        ("n02_0.JPEG", "golf ball"),
        ("n01_0.JPEG", "tench, Tinca tinca"),
    ]
    assert tables["train"].num_rows == 6 and tables["train"]["label"].chunk(0).dictionary.to_pylist() == list(NAMES.values())


def test_other_classes_are_counted(folders: Path) -> None:
    assert imagenet(base=folders, path="net", names=NAMES).left_out == {"photograph of another class": 4}
    assert imagenet(base=folders, path="net", names={**NAMES, "n03": "church"}).left_out == {}


def test_identity_follows_names_and_files(folders: Path) -> None:
    found = [
        imagenet(base=folders, path="net", names=names).identity
        for names in (NAMES, {**NAMES, "n02": "ball"}, dict(reversed(NAMES.items())))
    ]
    (folders / "net" / "val" / "n01" / "n01_0.JPEG").write_bytes(b"larger")
    found.append(imagenet(base=folders, path="net", names=NAMES).identity)
    assert len(set(found)) == 4 and imagenet(base=folders, path="net", names=NAMES).identity == found[-1]


def test_what_is_missing_is_told(folders: Path) -> None:
    with pytest.raises(DataError, match=r"data.options.path: .*nothing/train is not there; 'curl https://s3.amazonaws.com/fast-ai"):
        imagenet(base=folders, path="nothing", names=NAMES)
    with pytest.raises(DataError, match=r"data.options.names: .*train has no folder n09 \(church\)"):
        imagenet(base=folders, path="net", names={**NAMES, "n09": "church"})
    with pytest.raises(DataError, match="data.options.names: empty"):
        imagenet(base=folders, path="net", names={})
