"""Models on disk: model.json (name in MODELS and its options, plain data) beside model.safetensors; nothing is unpickled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from compress.io_spec import IOSpec
from compress.tables import MODELS, resolve


def save_model(model: nn.Module, folder: Path, *, name: str, options: dict, io: IOSpec) -> None:
    """Writes model.json, model.safetensors and io_spec.json into `folder`."""
    described = {"model": name, "options": options, "parameters": count_parameters(model)}
    (folder / "model.json").write_text(json.dumps(described, indent=2, sort_keys=True))
    (folder / "io_spec.json").write_text(json.dumps(io.to_json(), indent=2))
    save_file({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")


def copy_model(folder: Path, to: Path) -> None:
    """Copies what `save_model` wrote to another folder."""
    to.mkdir(exist_ok=True)
    for name in ("model.json", "io_spec.json", "model.safetensors"):
        shutil.copyfile(folder / name, to / name)


def load_model(folder: Path) -> nn.Module:
    """The model of `save_model`, in eval mode."""
    model = build_model(folder)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def build_model(folder: Path) -> nn.Module:
    """The architecture alone, with fresh weights."""
    described = json.loads((folder / "model.json").read_text())
    options = described["options"]
    beside = {key: str(folder / options[key]) for key in ("config_folder", "file") if key in options}  # what lies beside the weights
    options = {**options, **beside}
    return resolve(MODELS[described["model"]])(IOSpec.load(folder / "io_spec.json"), **options)


def tokenizer_of(folder: Path) -> Path | None:
    """The tokenizer.json in a model's folder; None for a model without text."""
    path = folder / "tokenizer.json"
    return path if path.is_file() else None


def count_parameters(model: nn.Module) -> int:
    """Numbers that training sets, frozen ones included."""
    return sum(p.numel() for p in model.parameters())
