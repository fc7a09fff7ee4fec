"""Fake-quantized students on disk: the state alone; the architecture comes from the float student and the recipe."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from compress.models.saved import load_model
from compress.quantizers.prepare import prepare
from compress.recipe.sections import Quantize


def save_quantized(model: nn.Module, folder: Path) -> None:
    """Writes model.safetensors of a prepared model; `open_quantized` builds it again."""
    folder.mkdir(exist_ok=True)
    save_file({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")


def open_quantized(student: Path, state: Path, config: Quantize) -> nn.Module:
    """The fake-quantized student of `save_quantized`, in eval mode: `student` is the float one's folder."""
    model = prepare(load_model(student), config)
    model.load_state_dict(load_file(state / "model.safetensors"))
    return model.eval()
