"""Reading an unpacked bundle and opening its models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.device.bundle import open_model, read_inputs
from compress.device.contents import find_model, read_bundle
from compress.device.errors import DeviceError, ManifestError
from compress.device.manifest import write_manifest


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


def test_open_refuses_a_model_outside_the_manifest(bundle: Path) -> None:
    table = json.loads((bundle / "models.json").read_text())
    table["models"][0]["file"] = "../model.onnx"
    (bundle / "models.json").write_text(json.dumps(table))
    write_manifest(bundle, extra={})
    opened = read_bundle(bundle)
    with pytest.raises(ManifestError, match="not listed"):
        open_model(opened, find_model(opened, None), runtime="onnxruntime_cpu", threads=1)
