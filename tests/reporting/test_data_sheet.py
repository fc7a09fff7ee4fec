"""The page of a recipe's data: what it counts, what it shows and plays, what it escapes, and that it stays small and fetches nothing."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from sections import data_section
from typer.testing import CliRunner

from compress.cli import app
from compress.data.prepare import open_data, prepare
from compress.data.prepared import PreparedData
from compress.data.source import Source
from compress.errors import CompressError
from compress.reporting.data_sheet import data_markdown, describe_data, show_rows, write_sheet

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """18 + 6 rows of picture, sound and text, all different but for one picture that train and test share; one row whose sound is none."""
    folder, draw = tmp_path_factory.mktemp("sheet"), np.random.default_rng(0)
    rows: dict[str, list[dict]] = {"train": [], "test": []}
    for split, count in (("train", 18), ("test", 6)):
        for index in range(count):
            label = ("cat", "dog", EVIL)[index % 3]
            image, audio = folder / f"{split}{index}.png", folder / f"{split}{index}.wav"
            Image.fromarray(draw.integers(0, 255, (5, 5, 3), np.uint8)).resize((40 + index, 40)).save(image)
            soundfile.write(audio, draw.normal(size=2000 + 100 * index) / 10, 8000)
            rows[split].append(
                {
                    "image": str(image),
                    "audio": str(audio),
                    "text": f"{EVIL} number {split} {index}",
                    "label": label,
                    "group": f"{split} {index}",
                }
            )
    rows["test"][0]["image"] = rows["train"][0]["image"]
    for index in (1, 2, 3):  # encoded again
        Image.open(rows["train"][index]["image"]).convert("RGB").save(folder / f"again{index}.jpg", quality=98)
        rows["test"][index]["image"] = str(folder / f"again{index}.jpg")
    Path(rows["train"][5]["audio"]).write_text("no sound")
    tables = {split: pa.Table.from_pylist(some) for split, some in rows.items()}
    config = data_section(
        source="manifest",
        inputs={"image": {"size": 32}, "audio": {"seconds": 0.5, "rate": 8000}, "text": {"length": 8}},
        on_bad_row="skip",
        validation_fraction=0.3,
    )
    source = Source(identity="test", read=lambda: tables, licence="none", left_out={"SVG picture": 3})
    prepare(source, config, folder / "data", say=lambda line: None)
    return open_data(folder / "data")


@pytest.fixture(scope="module")
def page(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "data.html"
    write_sheet(out, data, name="sheet", description=f"Shapes {EVIL}", samples=5)
    return out.read_text()


def cells(data: PreparedData, title: str) -> dict[str, list[str]]:
    (found,) = (rows for name, _, _, rows in describe_data(data)[0] if name == title)
    return {row[0]: row[1:] for row in found}


def test_rows_inputs_and_what_train_shares_are_counted(data: PreparedData) -> None:
    found = cells(data, "Splits")
    train, validation, test = (int(cell) for cell in found["rows"])
    assert (train + validation, test) == (17, 6)  # one sound of 18 is none
    assert found["image inputs that train has too"][0] == "–"
    assert sum(int(cell) for cell in found["image inputs that train has too"][1:]) <= 1
    assert found["groups"] == [str(train), str(validation), "6"]


def test_balance_is_rows_and_shares_with_the_commonest_first(data: PreparedData) -> None:
    found = cells(data, "Labels")
    assert set(found) == {"cat", "dog", EVIL} and found["cat"][2] == "2 (33.3 %)"
    counts = [int(row[0].split()[0]) for row in found.values()]
    assert counts == sorted(counts, reverse=True)


def test_sizes_are_those_of_the_users_files(data: PreparedData) -> None:
    found = cells(data, "Sizes")
    assert found["image: height, pixels"][2] == "40.0 – 40.0 – 40.0 – 40.0"
    assert found["audio: seconds"][2] == "0.250 – 0.281 – 0.309 – 0.312"  # 2,000 to 2,500 samples, 8,000 a second
    assert found["text: words"][0] == "4.00 – 4.00 – 4.00 – 4.00"
    assert "size 32" in found["image: width, pixels"][3]


def test_broken_rows_and_what_the_source_leaves_out_are_named(data: PreparedData) -> None:
    found = cells(data, "Left out")
    assert found["SVG picture"] == ["3", "by the source"]
    (reason,) = set(found) - {"SVG picture"}
    assert found[reason][0] == "1" and "train row 6: " in found[reason][1] and "train5.wav" in found[reason][1]


def test_page_escapes_what_is_the_users_and_fetches_nothing(page: str) -> None:
    assert EVIL not in page and "&lt;script&gt;" in page
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links and all(link.startswith(("data:image/png;", "data:audio/wav;")) for link in links)
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page


def test_page_is_well_formed_and_shows_rows_of_each_split(page: str) -> None:
    open_tags: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list) -> None:
            if tag not in ("meta", "img", "br", "path", "link"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag != "path":
                assert open_tags.pop() == tag

    Check().feed(page)
    assert not open_tags
    assert [f"Some rows of {split}" in page for split in ("train", "validation", "test")] == [True] * 3
    assert page.count("<audio") >= 10


def test_near_duplicates_across_splits_stand_side_by_side(data: PreparedData, page: str) -> None:
    pairs = data.report["splits"]["test"]["near_duplicates"]["examples"]
    assert pairs and "Near duplicates: test and train" in page
    assert page.count('alt="the input image"') == page.count("<audio") + 2 * len(pairs)
    assert page.count(f"test row {pairs[0]['row']}, train row {pairs[0]['train_row']}") == 1


def test_player_holds_what_the_student_hears(data: PreparedData) -> None:
    (row, *_), _ = show_rows(data, "test", count=6, most_bytes=10**6)
    encoded = re.search(r"data:audio/wav;base64,([^\"]*)", row["inputs"]["audio"])
    assert encoded
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[1])), dtype="int16")
    stored = np.asarray(data.split("test").inputs["audio"])
    assert rate == 8000 and any(np.array_equal(samples, sound[: len(samples)]) and not sound[len(samples) :].any() for sound in stored)


def test_each_label_takes_its_turn_and_the_sheet_ends_at_its_size(data: PreparedData) -> None:
    rows, sentence = show_rows(data, "test", count=3, most_bytes=10**6)
    assert {row["label"] for row in rows} == {"cat", "dog", EVIL} and sentence.startswith("3 of 6 rows")
    few, sentence = show_rows(data, "test", count=6, most_bytes=sum(len(str(html)) for html in rows[0]["inputs"].values()) + 10)
    assert len(few) == 1 and "more would take over 0 MB" in sentence


def test_row_whose_label_is_not_trained_on_has_none(tmp_path: Path) -> None:
    tables = {
        split: pa.table({"text": [f"{split} {word} {i}" for i in range(20) for word in ("one", "two")], "label": ["a", "b"] * 20})
        for split in ("train", "test")
    }
    config = data_section(source="manifest", inputs={"text": {"length": 8}}, validation_fraction=0.3, labelled_fraction=0.5)
    prepare(Source(identity="half", read=lambda: tables, licence="none"), config, tmp_path / "data", say=lambda line: None)
    rows, _ = show_rows(open_data(tmp_path / "data"), "train", count=40, most_bytes=10**6)
    assert {row["label"] for row in rows} == {"a", "b", "(none)"}


def test_page_that_cannot_be_written_is_told(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompressError, match="give another place with --out"):
        write_sheet(tmp_path / "file" / "data.html", data, name="a", description="", samples=1)


def test_command_makes_the_data_prints_and_writes(tmp_path: Path) -> None:
    lines = ["text,label", *(f"row {i} is {'ab'[i % 2]},{'ab'[i % 2]}" for i in range(40))]
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(
            "\n".join(lines if split == "train" else [line.replace("row", "line") for line in lines[:11]])
        )
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: {source: manifest, options: {train: train.csv, test: test.csv}, inputs: {text: {length: 8}}}\n"
        "teacher: {source: fit, encoders: {text: {model: minilm_l6}}}\nstudent: {encoders: {text: {}}}\n"
    )
    done = CliRunner().invoke(app, ["data", str(tmp_path / "a.yaml"), "--runs", str(tmp_path / "runs"), "--samples", "2"])
    assert done.exit_code == 0, done.output
    assert "| Splits" in done.output and (tmp_path / "runs" / "a" / "data.html").is_file()
    assert not list((tmp_path / "runs" / "a").glob("*-features"))


def test_markdown_has_a_table_for_each_part(data: PreparedData) -> None:
    text = data_markdown(data)
    assert [f"| {title} " in text for title in ("Splits", "Labels", "Sizes", "Left out")] == [True] * 4
