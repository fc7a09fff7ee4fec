"""Every modality of the table keeps what the program relies on: from the cell of a user's table to a model's port, and the same on a device.

A new modality needs a line in CASES.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from PIL import Image
from sections import data_section, distill_section
from tokenizers import Tokenizer, models, pre_tokenizers

from compress.data.prepare import prepare
from compress.data.prepared import PreparedData, open_data
from compress.data.source import Source
from compress.device import modalities as on_device
from compress.io_spec import IOSpec
from compress.modalities.modality import Modality, modality
from compress.models.student import build_encoder
from compress.recipe.declarations import literal
from compress.tables import MODALITIES, encoders
from compress.training.rows import open_rows, sample_feeds

COUNTS = {"train": 12, "validation": 4, "test": 4}
WORDS = ["[PAD]", "[UNK]", "is", "it", "more", "than", *map(str, range(20)), "<", "b", ">"]


def picture(folder: Path, index: int) -> str:
    path = folder / f"{index}.png"
    Image.fromarray(np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path.name


def broken_picture(folder: Path) -> str:
    (folder / "broken.png").write_text("no picture")
    return "broken.png"


def sound(folder: Path, index: int) -> str:
    path = folder / f"{index}.wav"
    soundfile.write(path, np.random.default_rng(index).normal(size=(900, 2)) / 10, 11025)
    return path.name


def broken_sound(folder: Path) -> str:
    (folder / "broken.wav").write_text("no sound")
    return "broken.wav"


@dataclass(frozen=True)
class Case:
    """How to fill a column: the cell of a number, a cell that cannot be read with its reason, and what a recipe says."""

    cell: Callable[[Path, int], Any]
    words: dict[str, Any]
    options: dict[str, Any]
    broken: Callable[[Path], Any] | None = None
    reason: str = ""
    shown: str = ""  # what the report's HTML of each input holds


CASES = {
    "image": Case(
        picture, {"size": 16, "resize": "crop"}, {"width": 0.25, "out": 8}, broken_picture, "not an image", "data:image/png;base64,"
    ),
    "audio": Case(sound, {"seconds": 0.1, "rate": 8000}, {"width": 8, "out": 8}, broken_sound, "not audio", "<svg "),
    "text": Case(lambda folder, i: f"is it more than {i} < b >?", {"length": 9}, {"layers": 1, "width": 8}, shown="&lt; b &gt;"),
    "numbers": Case(lambda folder, i: f"{i}, -1.5 {i}e-3", {"size": 3}, {"width": 8}, lambda folder: "1 2", "unusable numbers", "-1.5"),
}


@dataclass(frozen=True)
class Prepared:
    """Rows of one modality alone: `cells` by split, of the rows that were kept; `folder` holds the model's assets, too."""

    name: str
    case: Case
    room: Modality
    folder: Path
    cells: dict[str, list[Any]]
    data: PreparedData

    @property
    def io(self) -> IOSpec:
        """The ports of a model."""
        return IOSpec((self.room.port(self.data_words, self.folder),), (self.data.task.port(self.data.labels),))

    @property
    def data_words(self) -> Any:
        """The words of data.inputs."""
        return data_section(source="manifest", inputs={self.name: self.case.words}).inputs.get(self.name)


@pytest.fixture(scope="module", params=MODALITIES)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Each input stands in two rows; train has one blank cell more and, where there can be one, an unusable cell."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    case, room, first = CASES[name], modality(name), 0
    cells, tables = {}, {}
    for split, count in COUNTS.items():
        cells[split] = [case.cell(folder, first + index // 2) for index in range(count)]
        first += count
        more = [None, *([case.broken(folder)] if case.broken else [])] if split == "train" else []
        labels = ["yes", "no"] * (count // 2) + ["yes"] * len(more)
        column = room.column(pa.chunked_array([pa.array([*cells[split], *more])]), folder, "the test")
        tables[split] = pa.table({name: column, "label": pa.array(labels)})
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = data_section(source="manifest", inputs={name: case.words}, on_bad_row="skip")
    source = Source(identity="test", read=lambda: tables, licence="none")
    prepare(source, config, folder / "data", say=lambda line: None)
    return Prepared(name, case, room, folder, cells, open_data(folder / "data"))


def test_every_modality_has_a_case_and_a_reader_on_the_device() -> None:
    assert list(CASES) == list(MODALITIES) == list(on_device.MODALITIES)


@pytest.mark.parametrize("name", MODALITIES)
def test_room_says_what_check_and_schema_need(name: str) -> None:
    room = modality(name)
    assert room.name == name and modality(name) is room
    assert set(room.words) == {"input", "augment", "student", "feed"} and room.words["input"]
    for word, says in [item for words in room.words.values() for item in words.items()]:
        assert set(says) <= {"type", "description", "default", "ge", "gt", "le", "lt"}, word
        assert isinstance(says["type"], list) or says["type"] in ("int", "float", "bool", "str"), word
        assert says["description"], word
    assert room.student in encoders(name)
    assert room.blank
    assert room.starter("x").startswith("#")


@pytest.mark.parametrize("name", MODALITIES)
def test_reader_on_the_device_says_what_a_bundle_needs(name: str) -> None:
    room, reader = modality(name), on_device.reader(name)
    assert room.reader == Path(str(reader.__file__))
    assert reader.OPTION.startswith("--") and reader.HELP
    assert tuple(reader.ASSETS) == room.assets
    assert literal(room.reader, "PACKAGES") == reader.PACKAGES  # read without running it


def test_every_distinct_input_is_stored_once(prepared: Prepared) -> None:
    for name, count in COUNTS.items():
        split = prepared.data.split(name)
        assert len(split) == count
        assert len(split.inputs[prepared.name]) == count // 2
        assert split.rows[prepared.name].tolist() == [index // 2 for index in range(count)]


def test_blank_and_unusable_cells_are_counted_under_their_reasons(prepared: Prepared) -> None:
    skipped = prepared.data.report["skipped"]["reasons"]
    expected = {prepared.room.blank: 1, **({prepared.case.reason: 1} if prepared.case.broken else {})}
    assert {reason: found["count"] for reason, found in skipped.items()} == expected


def test_arrays_are_what_the_port_takes(prepared: Prepared) -> None:
    (port,) = prepared.io.inputs
    assert port.name == prepared.name
    array = prepared.room.arrays(prepared.data.split("train").inputs[prepared.name], port, prepared.folder)
    assert array.shape == (6, *port.shape) and np.can_cast(array.dtype, port.dtype)
    assert port.low is None or array.min() >= port.low
    assert port.high is None or array.max() <= port.high
    assert len(np.unique(array, axis=0)) == 6


def test_device_reads_a_cell_as_training_does(prepared: Prepared) -> None:
    feeds, index = sample_feeds(prepared.data.split("test"), prepared.io, prepared.folder, 100)
    port = json.loads(json.dumps(asdict(prepared.io.inputs[0])))  # as io_spec.json has it
    for row, got in zip(index, feeds[prepared.name], strict=True):
        cell = prepared.cells["test"][row]
        value = prepared.folder / cell if prepared.room.reads_files else cell
        read = on_device.reader(prepared.name).read(value, port, prepared.folder)
        assert read.dtype == got.dtype
        np.testing.assert_array_equal(read, got[None])


def test_port_survives_io_spec_json(prepared: Prepared) -> None:
    assert IOSpec.from_json(json.loads(json.dumps(prepared.io.to_json()))) == prepared.io


def test_kept_inputs_are_those_asked_for_in_their_order(prepared: Prepared, tmp_path: Path) -> None:
    source, (port,) = prepared.data.path / "train", prepared.io.inputs
    prepared.room.keep(prepared.name, np.array([1, 4, 5]), folder=source, out=tmp_path)
    arrays = [prepared.room.arrays(prepared.room.open(folder, prepared.name), port, prepared.folder) for folder in (source, tmp_path)]
    np.testing.assert_array_equal(arrays[1], arrays[0][[1, 4, 5]])


def test_inputs_can_be_kept_in_place(prepared: Prepared, tmp_path: Path) -> None:
    source, (port,) = prepared.data.path / "train", prepared.io.inputs
    prepared.room.keep(prepared.name, np.arange(6), folder=source, out=tmp_path)
    before = np.array(prepared.room.arrays(prepared.room.open(tmp_path, prepared.name), port, prepared.folder))
    prepared.room.keep(prepared.name, np.array([0, 3]), folder=tmp_path, out=tmp_path)
    after = prepared.room.arrays(prepared.room.open(tmp_path, prepared.name), port, prepared.folder)
    np.testing.assert_array_equal(after, before[[0, 3]])


def test_input_is_shown_as_safe_html(prepared: Prepared) -> None:
    stored = prepared.data.split("test").inputs[prepared.name]
    for index in range(len(stored)):
        shown = prepared.room.show(stored, index)
        assert prepared.case.shown in shown
        assert "< b >" not in shown


def test_view_zero_is_the_input_itself(prepared: Prepared) -> None:
    words = distill_section(augment={prepared.name: {}}).augment.get(prepared.name)
    assert prepared.room.variant(words, 0, 0) == ()
    assert prepared.room.most_variants(words) == 1  # nothing varies unless it is asked for


def test_students_encoder_reads_the_port(prepared: Prepared) -> None:
    (port,) = prepared.io.inputs
    encoder = build_encoder(port, {"model": prepared.room.student, "options": prepared.case.options}).eval()
    rows = open_rows(prepared.data.split("test"), prepared.io, prepared.folder)
    with torch.no_grad():
        features = encoder(torch.from_numpy(np.array(rows.inputs[prepared.name])))
    assert features.shape == (2, encoder.width) and torch.isfinite(features).all()
