"""Models on disk: plain data and safetensors, and nothing that runs code when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ports import io_spec

from compress.io_spec import IOSpec
from compress.models.cifar_resnet import cifar_resnet
from compress.models.saved import build_model, count_parameters, load_model, save_model

IO = io_spec(image_size=32, text_length=None, vocabulary=None, classes=4)


def saved(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    model = cifar_resnet(IO, depth=8)
    save_model(model, folder, name="cifar_resnet", options={"depth": 8}, io=IO)
    return model


def test_folder_holds_name_options_ports_and_weights(tmp_path: Path) -> None:
    model = saved(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["io_spec.json", "model.json", "model.safetensors"]
    described = json.loads((tmp_path / "model.json").read_text())
    assert described == {"model": "cifar_resnet", "options": {"depth": 8}, "parameters": count_parameters(model)}
    assert IOSpec.load(tmp_path / "io_spec.json") == IO


def test_reading_a_model_unpickles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    monkeypatch.setattr("pickle.Unpickler", refuse)
    monkeypatch.setattr("torch.load", refuse)
    load_model(tmp_path)


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_built_model_has_the_architecture_and_fresh_weights(tmp_path: Path) -> None:
    model = saved(tmp_path)
    torch.manual_seed(1)
    built = build_model(tmp_path)
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert not torch.equal(built.state_dict()["encoders.image.conv1.weight"], model.state_dict()["encoders.image.conv1.weight"])


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**described, "options": {"depth": 14}}))
    with pytest.raises(RuntimeError, match="Missing key"):
        load_model(tmp_path)


def test_count_parameters_counts_frozen_ones_but_no_buffers() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == (3 * 2 + 2) + (2 + 2)
