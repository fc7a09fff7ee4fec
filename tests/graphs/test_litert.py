"""A torch model as a .tflite file: the same answers under the same names, row by row, and a converter's refusal as an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ports import io_spec
from torch import Tensor, nn

from compress.device.errors import DeviceError
from compress.device.sessions import open_session
from compress.errors import CompressError
from compress.graphs.litert import to_litert
from compress.io_spec import IOSpec, Outputs
from compress.models.shares import with_shares

pytest.importorskip("litert_torch", reason="the extra litert is not installed")
SPEC = io_spec(image_size=8, text_length=5, vocabulary=11, classes=3)
TELLING = with_shares(SPEC)


class Small(nn.Module):
    """Pixels and tokens to logits, with the operators of a student."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.words, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        pixels = inputs["image"].permute(0, 3, 1, 2).float() / 255
        return Outputs(self.head(self.conv(pixels).relu().mean((2, 3)) * self.words(inputs["text"]).mean(1)))


class Telling(Small):
    """Gives shares beside its logits."""

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        outputs = super().forward(inputs)
        return outputs._replace(shares=outputs.logits[:, :2].softmax(1))


class Sorted(Small):
    """Uses an operator that the converter does not know."""

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        return Outputs(torch.linalg.qr(super().forward(inputs).logits)[0])


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_litert(Telling(), TELLING, tmp_path_factory.mktemp("litert") / "mobile" / "fp32.tflite")


def feeds(rows: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {"text": draw.integers(0, 11, (rows, 5)), "image": draw.integers(0, 256, (rows, 8, 8, 3), np.uint8)}


@pytest.mark.parametrize("rows", [1, 4])
def test_file_answers_as_torch_under_the_ports_names(converted: Path, rows: int) -> None:
    session = open_session(converted, runtime="litert")
    assert (session.inputs, session.outputs) == (["image", "text"], ["logits", "shares"])
    with torch.no_grad():
        expected = Telling()({name: torch.from_numpy(array) for name, array in feeds(rows).items()})
    found = session.run(feeds(rows))
    for name in session.outputs:
        np.testing.assert_allclose(found[name], getattr(expected, name).numpy(), atol=1e-5)


def test_session_gives_arrays_that_the_next_call_leaves_alone(converted: Path) -> None:
    session = open_session(converted, runtime="litert")
    first = session.run(feeds(2))["logits"]
    kept = first.copy()
    session.run({name: np.zeros_like(array) for name, array in feeds(2).items()})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"text": None}, "no value for text"), ({"image": np.zeros((1, 2, 2, 7), np.uint8)}, "the model did not run: .*[Dd]imension")],
)
def test_session_refuses_missing_and_wrong_feeds(converted: Path, changed: dict[str, Any], words: str) -> None:
    given = {name: array for name, array in {**feeds(1), **changed}.items() if array is not None}
    with pytest.raises(DeviceError, match=words):
        open_session(converted, runtime="litert").run(given)


def test_session_refuses_what_is_no_tflite_file(tmp_path: Path) -> None:
    for name in ("a.tflite", "a.onnx"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(DeviceError, match=r"a\.tflite: LiteRT cannot open the model"):
        open_session(tmp_path / "a.tflite", runtime="litert")
    with pytest.raises(DeviceError, match=r"a\.onnx: runtime litert runs \.tflite files and no \.onnx ones"):
        open_session(tmp_path / "a.onnx", runtime="litert")


def test_converters_refusal_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=r"fp32\.tflite: LiteRT's converter ended with exit code 1"):
        to_litert(Sorted(), SPEC, tmp_path / "fp32.tflite")
    assert not (tmp_path / "fp32.tflite").exists()


def test_ports_without_text_have_one_input(tmp_path: Path) -> None:
    class Pixels(Small):
        def forward(self, inputs: dict[str, Tensor]) -> Outputs:
            return Outputs(self.head(self.conv(inputs["image"].permute(0, 3, 1, 2).float()).mean((2, 3))))

    spec: IOSpec = io_spec(image_size=8, text_length=None, vocabulary=None, classes=3)
    session = open_session(to_litert(Pixels(), spec, tmp_path / "fp32.tflite"), runtime="litert")
    assert session.run({"image": feeds(2)["image"]})["logits"].shape == (2, 3)
