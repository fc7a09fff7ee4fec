"""Manifests in their three formats, and what is wrong with others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from compress.data.manifest import manifest
from compress.errors import DataError


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: list[dict]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_manifest_formats_give_the_same_table(suffix: str, rows: dict, write_csv: Callable, tmp_path: Path) -> None:
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[suffix]
    for split, some in rows.items():
        write(tmp_path / f"{split}.{suffix}", some)
    tables = manifest(base=tmp_path, train=f"train.{suffix}", test=f"test.{suffix}").read()
    assert list(tables) == ["train", "test"]
    expected = [{**row, "image": str(tmp_path / row["image"])} for row in rows["train"]]
    assert tables["train"].to_pylist() == expected


def test_manifest_in_a_subfolder_finds_images_beside_it(rows: dict, write_csv: Callable, tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", rows["train"])
    table = manifest(base=tmp_path.parent, train=f"{tmp_path.name}/rows.csv", test=f"{tmp_path.name}/rows.csv").read()["train"]
    assert Path(table["image"][0].as_py()).is_file()


def test_manifest_takes_other_column_names(write_csv: Callable, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"q": "why?", "a": "so", "z": "1"}])
    table = manifest(base=tmp_path, train="a.csv", test="a.csv", columns={"text": "q", "label": "a"}).read()["train"]
    assert table.to_pylist() == [{"text": "why?", "label": "so"}]


@pytest.mark.parametrize("struct", [False, True])
def test_manifest_takes_image_content(struct: bool, make_png: Callable, tmp_path: Path) -> None:
    content = make_png((1, 2, 3))
    cell = {"bytes": content, "path": "a.png"} if struct else content
    write_parquet(tmp_path / "a.parquet", [{"image": cell, "label": 3}, {"image": cell, "label": None}])
    table = manifest(base=tmp_path, train="a.parquet", test="a.parquet").read()["train"]
    assert table.to_pylist() == [{"image": content, "label": "3"}, {"image": content, "label": None}]


def test_manifest_csv_cells_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n007,NA\n2024-01-31,1\n"two\nlines",\n')
    table = manifest(base=tmp_path, train="a.csv", test="a.csv").read()["train"]
    assert table["text"].to_pylist() == ["007", "2024-01-31", "two\nlines"]
    assert table["label"].to_pylist() == ["NA", "1", ""]


def test_manifest_jsonl_text_like_a_date_stays_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "2024-01-31", "label": 1}])
    assert manifest(base=tmp_path, train="a.jsonl", test="a.jsonl").read()["train"].to_pylist() == [{"text": "2024-01-31", "label": "1"}]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("txt,label\na,b\n", {"columns": {"text": "tex"}}, "no column 'tex' .did you mean 'txt'"),
        ("text,text,label\na,b,c\n", {}, "column 'text' is there 2 times"),
        ("text,label\na,b,c\n", {}, "not readable as csv"),
        ("", {}, "not readable as csv"),
    ],
)
def test_manifest_fault_names_file_and_column(content: str, options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        manifest(base=tmp_path, train="a.csv", test="a.csv", **options)
    assert str(caught.value).startswith(f"data.options.train ({tmp_path / 'a.csv'})")


@pytest.mark.parametrize("row", [{"text": 3, "label": "a"}, {"text": "a", "group": 1.5, "label": "a"}])
def test_manifest_refuses_a_column_of_another_type(row: dict, tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [row])
    with pytest.raises(DataError, match="but strings are needed"):
        manifest(base=tmp_path, train="a.parquet", test="a.parquet")


def test_manifest_broken_jsonl_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": \n')
    with pytest.raises(DataError, match="not readable as jsonl"):
        manifest(base=tmp_path, train="a.jsonl", test="a.jsonl")


def test_manifest_missing_file_and_unknown_suffix_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("")
    with pytest.raises(DataError, match="data.options.train: .*b.csv is not a file"):
        manifest(base=tmp_path, train="b.csv", test="b.csv")
    with pytest.raises(DataError, match="ends in '.tsv'; give a .csv"):
        manifest(base=tmp_path, train="a.tsv", test="a.tsv")


def test_manifest_identity_follows_rows_and_images(rows: dict, write_csv: Callable, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", rows["train"])

    def identity() -> str:
        return manifest(base=tmp_path, train="a.csv", test="a.csv").identity

    first = identity()
    assert identity() == first
    image = tmp_path / rows["train"][0]["image"]
    os.utime(image, ns=(1, 1))
    touched = identity()
    assert touched != first
    image.unlink()
    assert identity() not in (first, touched)
    path.write_text(path.read_text().replace("is it red?", "is it red"))
    assert identity() not in (first, touched)


def test_manifest_identity_covers_images_in_the_file(make_png: Callable, tmp_path: Path) -> None:
    def identity(shade: int) -> str:
        write_parquet(tmp_path / "a.parquet", [{"image": make_png((shade, 0, 0)), "label": "a"}])
        return manifest(base=tmp_path, train="a.parquet", test="a.parquet").identity

    assert identity(1) == identity(1) != identity(2)


def test_manifest_broken_parquet_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not readable as parquet"):
        manifest(base=tmp_path, train="a.parquet", test="a.parquet")


@pytest.mark.parametrize("patients", [["p1", "", "p2"], [1, None, 2]])
def test_manifest_takes_a_column_of_groups(patients: list, tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"text": "a", "label": "b", "patient": patient} for patient in patients])
    table = manifest(base=tmp_path, train="a.parquet", test="a.parquet", columns={"group": "patient"}).read()["train"]
    assert table["group"].to_pylist() == [None if patient is None else str(patient) for patient in patients]


def test_manifest_refuses_groups_that_are_no_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"text": "a", "label": "b", "group": 1.5}])
    with pytest.raises(DataError, match="column 'group' is double.*a label, a group or a slice is a name or a whole number"):
        manifest(base=tmp_path, train="a.parquet", test="a.parquet").read()


def test_train_may_be_several_files(write_csv: Callable, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write_csv(tmp_path / "a.csv", [{"image": "1.png", "label": "7", "kind": "big"}])
    write_jsonl(tmp_path / "more" / "b.jsonl", [{"label": "8", "image": "2.png"}, {"label": "7", "image": None}])
    files = ["a.csv", "more/b.jsonl"]
    source = manifest(base=tmp_path, train=files, test="a.csv")
    first, second, third = source.read()["train"].to_pylist()
    assert first == {"image": str(tmp_path / "1.png"), "label": "7", "kind": "big"}
    assert second == {"image": str(tmp_path / "more" / "2.png"), "label": "8", "kind": None} and third["image"] is None
    assert len({manifest(base=tmp_path, train=train, test="a.csv").identity for train in (files, files[::-1], files[0])}) == 3
    assert manifest(base=tmp_path, train=files[:1], test="a.csv").identity == manifest(base=tmp_path, train="a.csv", test="a.csv").identity


def test_train_files_that_do_not_go_together_are_refused(make_png: Callable, write_csv: Callable, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"image": "1.png", "label": "7"}])
    write_parquet(tmp_path / "b.parquet", [{"image": make_png((1, 2, 3)), "label": "7"}])
    with pytest.raises(DataError, match=r"data\.options\.train: its files cannot be read as one: .*image.*one form"):
        manifest(base=tmp_path, train=["a.csv", "b.parquet"], test="a.csv").read()
    with pytest.raises(DataError, match="names no file"):
        manifest(base=tmp_path, train=[], test="a.csv")
