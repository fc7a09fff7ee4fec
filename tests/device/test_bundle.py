"""Reading an unpacked bundle and answering with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress.device.bundle import open_bundle, read_inputs
from compress.device.contents import find_model, read_bundle
from compress.device.errors import DeviceError, ManifestError
from compress.device.manifest import write_manifest
from compress.device.modalities.image import decode
from compress.device.modalities.text import encode_text, open_tokenizer
from compress.device.sessions import open_session
from compress.stages.bundle import write_bundle


def test_bundle_knows_its_models_and_ports(bundle: Path) -> None:
    opened = read_bundle(bundle)
    assert [(model.name, model.file, model.precision) for model in opened.models] == [
        ("fp32", "model.onnx", "fp32"),
        ("int8_qat", "models/int8_qat.onnx", "int8"),
    ]
    assert list(opened.inputs) == ["image", "text"]
    assert opened.labels == ("no", "yes", "red", "blue")


def test_find_gives_the_chosen_model_or_a_named_one(bundle: Path) -> None:
    opened = read_bundle(bundle)
    assert (find_model(opened, None).name, find_model(opened, "int8_qat").name) == ("fp32", "int8_qat")
    with pytest.raises(DeviceError, match="unknown model 'int4'; this bundle holds fp32, int8_qat"):
        find_model(opened, "int4")


def test_predict_is_the_softmax_of_the_model(bundle: Path, picture: Path) -> None:
    opened = read_bundle(bundle)
    answer = open_bundle(bundle).predict(image=picture, text="what colour is the square ?")
    feeds = {
        "image": decode(picture, height=8, width=8)[None],
        "text": encode_text(open_tokenizer(bundle / "tokenizer.json", length=6), "what colour is the square ?"),
    }
    logits = open_session(bundle / "model.onnx").run(feeds)["logits"][0]
    p = np.exp(logits) / np.exp(logits).sum()
    assert answer["label"] == opened.labels[int(p.argmax())]
    assert answer["probability"] == pytest.approx(p.max(), rel=1e-5)
    assert [entry["probability"] for entry in answer["top"]] == pytest.approx(sorted(p, reverse=True)[:3], rel=1e-5)


@pytest.mark.parametrize(("modality", "given"), [("image", {}), ("text", {"image": None, "text": "what ?"})])
def test_predict_takes_models_of_one_input(tmp_path: Path, bundle_arguments, picture: Path, modality: str, given: dict) -> None:
    write_bundle(tmp_path / "one", **bundle_arguments((modality,)))
    opened = read_bundle(tmp_path / "one")
    assert (tmp_path / "one" / "tokenizer.json").exists() == (modality == "text")
    asked = {name: value for name, value in {"image": picture, **given}.items() if value is not None}
    answer = open_bundle(tmp_path / "one").predict(**asked)
    assert answer["label"] in opened.labels
    unused = {"image": {"text": "what ?"}, "text": {"image": picture}}[modality]
    with pytest.raises(DeviceError, match="this model reads no"):
        open_bundle(tmp_path / "one").predict(**asked, **unused)


@pytest.mark.parametrize(("missing", "option"), [("image", "--image"), ("text", "--question")])
def test_predict_asks_for_a_missing_input(bundle: Path, picture: Path, missing: str, option: str) -> None:
    given = {"image": picture, "text": "what ?", missing: None}
    with pytest.raises(DeviceError, match=f"reads image and text; give {option}"):
        open_bundle(bundle).predict(**given)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "labels.json", "io_spec.json", "models.json"])
def test_predict_refuses_a_changed_file(bundle: Path, picture: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[-1] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(ManifestError, match=f"{name}: sha256"):
        open_bundle(bundle).predict(image=picture, text="what ?")


def test_read_inputs_refuses_changed_samples(bundle: Path) -> None:
    opened = read_bundle(bundle)
    with open(bundle / "golden.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(ManifestError, match=r"golden\.npz: \d+ bytes"):
        read_inputs(opened)


@pytest.mark.parametrize("name", ["models.json", "io_spec.json", "labels.json"])
def test_read_refuses_files_of_another_form(bundle: Path, name: str) -> None:
    (bundle / name).write_text(json.dumps(None))
    write_manifest(bundle, extra={})
    with pytest.raises(ManifestError, match="not as this runner knows it"):
        read_bundle(bundle)


def test_read_refuses_a_model_outside_the_manifest(bundle: Path, picture: Path) -> None:
    table = json.loads((bundle / "models.json").read_text())
    table["models"][0]["file"] = "../model.onnx"
    (bundle / "models.json").write_text(json.dumps(table))
    write_manifest(bundle, extra={})
    with pytest.raises(ManifestError, match="not listed"):
        open_bundle(bundle).predict(image=picture, text="what ?")
