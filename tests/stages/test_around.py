"""What a device does around the model: files and texts as users hand them over, read by the shipped reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from compress.device.modalities import open_reader
from compress.device.timing import Effort
from compress.io_spec import Port
from compress.modalities.modality import modality
from compress.stages.benchmark import around

IMAGE = {"name": "image", "dtype": "uint8", "shape": (8, 8, 3), "low": 0, "high": 255, "reading": {"resize": "stretch"}, "unit": False}
TEXT = {"name": "text", "dtype": "int64", "shape": (4,), "low": 0, "high": 3, "reading": None, "unit": False}
AUDIO = {
    "name": "audio",
    "dtype": "int32",
    "shape": (160,),
    "low": None,
    "high": None,
    "reading": {"rate": 16000},
    "unit": False,
}
NUMBERS = {"name": "numbers", "dtype": "float32", "shape": (3,), "low": None, "high": None, "reading": None, "unit": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "is": 2, "it": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def forms(port: dict[str, Any], stored: Any) -> dict[str, Any]:
    return modality(port["name"]).as_given(stored, 0, Port(**port))


def test_what_is_handed_over_is_read_back_as_it_was_stored(folder: Path) -> None:
    """A PNG, a WAV file and numbers lose nothing; a camera's JPEG has the port's shape."""
    draw = np.random.default_rng(0)
    stored = {"image": draw.integers(0, 256, (1, 8, 8, 3), np.uint8), "audio": draw.integers(-999, 999, (1, 160)).astype(np.int16)}
    stored["numbers"] = draw.standard_normal((1, 3)).astype(np.float32)
    for port in (IMAGE, AUDIO, NUMBERS):
        if port["name"] == "audio":
            pytest.importorskip("soundfile")
        (form, value), *others = forms(port, stored[port["name"]]).items()
        read = open_reader(port["name"], port, folder)
        assert np.array_equal(read(value)[0], stored[port["name"]][0]), form
        assert all(read(other).shape == (1, *port["shape"]) for _, other in others)
    assert [*forms(IMAGE, stored["image"])] == ["PNG, 8 x 8", "JPEG, 640 x 480"]
    assert open_reader("text", TEXT, folder)(forms(TEXT, pa.array(["is it red?"]))["text"]).tolist() == [[2, 3, 1, 1]]


def test_silence_is_not_handed_over_for_no_reader_takes_it() -> None:
    assert forms(AUDIO, np.zeros((1, 160), np.int16)) == {}


class Split:
    """Rows 0 to 2, each with a picture and a text of its own."""

    inputs = {"image": np.zeros((3, 8, 8, 3), np.uint8), "text": pa.array(["is it?", "it is", "is"])}
    rows = {"image": np.arange(3), "text": np.arange(3)}

    def lacks(self, name: str) -> np.ndarray:
        return np.array([False, name == "text", False])


class Data:
    """What `time_around` asks of prepared data."""

    labels = ["no", "yes"]

    def __init__(self) -> None:
        from compress.tasks.task import task

        self.task = task("single_label")

    def split(self, name: str) -> Split:
        return Split()


def test_every_form_and_the_answer_are_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        inputs = ["image"]

        def run(self, feeds: dict) -> dict:
            return {"logits": np.zeros((len(feeds["image"]), 2), np.float32)}

    class Model:
        inputs = {"image": Split.inputs["image"]}
        facts: dict = {}
        path = folder

    monkeypatch.setattr(around, "open_candidate", lambda model, threads: Session())
    settings: dict[str, Any] = {"folder": folder, "effort": Effort(12, 1), "seed": 0}
    found = around.time_around(Model(), Data(), np.arange(3), ports=[IMAGE, TEXT], **settings)  # type: ignore[arg-type]
    assert {name: [*forms] for name, forms in found["inputs"].items()} == {"image": ["PNG, 8 x 8", "JPEG, 640 x 480"], "text": ["text"]}
    times = [*found["inputs"]["image"].values(), found["inputs"]["text"]["text"], found["answer"]]
    assert all(entry["rounds"] == 12 and 0 < entry["median_ms"] <= entry["p95_ms"] for entry in times)
    png, jpeg = found["inputs"]["image"].values()
    assert jpeg["median_ms"] > png["median_ms"]  # 640 x 480 pixels against 8 x 8
