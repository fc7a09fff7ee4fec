"""Tux Paint's stamps, drawn in a tiny folder of the package's layout: rows, folds, what is left out and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from sections import data_section

import compress.data.stamps as module
from compress.data.prepare import prepare
from compress.data.stamps import stamps
from compress.errors import DataError, RecipeError

PLACES = [
    "animals/birds/crow", "animals/birds/duck", "animals/cat", "animals/dog", "animals/fish/cod",
    "food/fruit/fig", "food/fruit/pear", "food/bread", "food/cake", "food/egg", "town/bank",
]  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked package: eleven stamps named in English and Spanish, spoken in French and (one) English; one drawing as SVG, one mirrored picture."""
    root = tmp_path / "stamps" / "usr" / "share" / "tuxpaint" / "stamps"
    for index, place in enumerate(PLACES):
        picture = root / f"{place}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (20 + index, 10), (20 * index, 0, 0, 255)).save(picture)
        picture.with_suffix(".txt").write_text(f"A {picture.stem}.\nes.utf8=El {picture.stem}ó.\nfr.utf8=\n", encoding="utf-8")
        if place != "town/bank":
            soundfile.write(picture.with_name(f"{picture.stem}_desc_fr.ogg"), np.sin(np.arange(4000) * (0.1 + index / 50)) / 2, 8000)
    soundfile.write(root / "animals" / "cat_desc.ogg", np.sin(np.arange(4000)) / 2, 8000)
    Image.new("RGB", (9, 9)).save(root / "animals" / "dog_mirror.png")
    (root / "animals" / "cat.svg").write_text("<svg/>")  # also there as PNG, so nothing is lost
    (root / "town" / "mill.svg").write_text("<svg/>")
    return tmp_path / "stamps"


def rows(table: pa.Table) -> list[dict]:
    return table.set_column(table.column_names.index("label"), "label", table["label"].cast(pa.string())).to_pylist()


def every_row(package: Path, **options: object) -> list[dict]:
    tables = stamps(base=package.parent, path=package.name, **options).read()  # type: ignore[arg-type]
    return [row for table in tables.values() for row in rows(table)]


@pytest.mark.parametrize("inside", [".", "usr/share/tuxpaint", "usr/share/tuxpaint/stamps"])
def test_a_row_is_a_picture_with_its_name_and_its_sound(package: Path, inside: str) -> None:
    (crow,) = (row for row in every_row(package / inside) if row["group"] == "animals/birds/crow")
    image, audio = Path(crow.pop("image")), Path(crow.pop("audio"))
    assert crow == {"text": "A crow.", "label": "animals", "group": "animals/birds/crow", "kind": "fr"}
    assert image.is_file() and audio.is_file() and audio.name == "crow_desc_fr.ogg"


def test_each_spoken_language_is_a_row_and_an_unspoken_picture_lacks_its_sound(package: Path) -> None:
    found = every_row(package, spoken=["fr", "en"], language="es")
    assert [(row["kind"], row["text"], Path(row["audio"]).name) for row in found if row["group"] == "animals/cat"] == [
        ("fr", "El cató.", "cat_desc_fr.ogg"),
        ("en", "El cató.", "cat_desc.ogg"),
    ]
    assert [(row["kind"], row["audio"]) for row in found if row["group"] == "town/bank"] == [("unspoken", None)]


def test_the_name_may_be_the_label(package: Path) -> None:
    named = {row["text"]: row["label"] for row in every_row(package, label="name")}
    assert named["A crow."] == "A crow." and len(set(named.values())) == len(PLACES)
    with pytest.raises(RecipeError, match=r"data.options.label: 'kind'; it is category or name"):
        every_row(package, label="kind")


def test_folds_are_dealt_by_picture_and_cover_all_once(package: Path) -> None:
    tests = [set(stamps(base=package, path=".", fold=fold).read()["test"]["group"].to_pylist()) for fold in range(5)]
    assert sorted(name for names in tests for name in names) == sorted(PLACES)
    assert all(len([name for name in names if name.startswith("animals")]) == 1 for names in tests)  # five of them, so one in each fold
    train = stamps(base=package, path=".", fold=2).read()["train"]["group"].to_pylist()
    assert not tests[2] & set(train) and len(train) == len(PLACES) - len(tests[2])


def test_another_seed_deals_others_and_the_same_one_the_same(package: Path) -> None:
    def test_pictures(seed: int) -> frozenset:
        return frozenset(stamps(base=package, path=".", folds=2, seed=seed).read()["test"]["group"].to_pylist())

    assert test_pictures(0) == test_pictures(0) and len({test_pictures(seed) for seed in range(6)}) > 1


def test_what_is_left_out_is_counted_by_its_reason(package: Path) -> None:
    source = stamps(base=package, path=".", least=2)
    assert source.left_out == {"SVG picture": 1, "picture without a name": 1, "picture of a category of fewer than 2: town": 1}
    assert source.read()["train"]["label"].chunk(0).dictionary.to_pylist() == ["animals", "food"]


def test_identity_follows_options_and_content(package: Path) -> None:
    first = stamps(base=package, path=".").identity
    assert stamps(base=package, path=".").identity == first
    assert (
        len({first, *(stamps(base=package, path=".", **change).identity for change in ({"seed": 1}, {"fold": 1}, {"language": "es"}))}) == 4
    )
    (package / "usr/share/tuxpaint/stamps/town/bank.txt").write_text("A bank of a river.\nes.utf8=La orilla.")
    assert stamps(base=package, path=".").identity != first


def test_missing_stamps_are_told_with_the_line_that_fetches_them(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"data.options.path: .*nothing is no folder of stamps; 'apt-get download tuxpaint-stamps-default && dpkg -x"
    ):
        stamps(base=package, path="nothing")
    with pytest.raises(DataError, match="data.options.path: .* holds no category with a PNG picture in it"):
        stamps(base=package, path="usr/share/tuxpaint/stamps/town")
    monkeypatch.setattr(module, "INSTALLED", package / "not_installed")
    with pytest.raises(DataError, match="data.options.path: not given, and .*not_installed is no folder of stamps"):
        stamps(base=package)


def test_options_that_name_nothing_are_told(package: Path) -> None:
    with pytest.raises(DataError, match=r"data.options.language: no picture is named in 'se'; there are en, es"):
        stamps(base=package, path=".", language="se")
    with pytest.raises(DataError, match="data.options.spoken: no NAME_desc_ru.ogg beside any picture"):
        stamps(base=package, path=".", spoken=["ru"])
    with pytest.raises(DataError, match="data.options.least: no category has 6 pictures; the largest has 5"):
        stamps(base=package, path=".", least=6)
    with pytest.raises(RecipeError, match="data.options.fold: 5; folds are counted from 0 and there are 5"):
        stamps(base=package, path=".", fold=5)


def test_prepared_data_have_all_three_inputs_and_say_what_was_left_out(package: Path, tmp_path: Path) -> None:
    config = data_section(
        source="stamps",
        inputs={"image": {"size": 8}, "text": {"length": 8}, "audio": {"seconds": 0.5, "rate": 8000}},
        on_bad_row="skip",
        validation_fraction=0.3,
    )
    report = prepare(stamps(base=package, path=".", least=2), config, tmp_path / "out", say=lambda line: None)
    assert report["modalities"] == ["image", "audio", "text"] and report["left_out"]["SVG picture"] == 1
    assert sum(split["rows"] for split in report["splits"].values()) == 10


@pytest.mark.skipif(not module.INSTALLED.is_dir(), reason="Debian's tuxpaint-stamps-default is not installed")
def test_the_real_package_is_read() -> None:
    tables = stamps(base=Path(), least=10).read()
    assert len(set(tables["train"]["group"].to_pylist())) > 500 and tables["train"]["label"].chunk(0).dictionary.to_pylist()[0] == "animals"
