"""Dual encoders of transformers such as CLIP, whole: a picture and a text each become a vector in the space that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compress.io_spec import IOSpec
from compress.models.classifier import Classifier
from compress.models.layers import Pixels
from compress.models.pretrained import load_transformers
from compress.models.towers import Towers
from compress.models.zero_shot import TOWERS, eager, open_both


class Tower(nn.Module):
    """One tower of transformers as an encoder: raw inputs (N, ...) -> what it projects to the space (N, D)."""

    def __init__(self, body: Any, pixels: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.pixels = body, pixels

    def forward(self, given: Tensor) -> Tensor:
        return self.body(given if self.pixels is None else self.pixels(given))[0]  # type: ignore[no-any-return]


def dual_teacher(io: IOSpec, *, config_folder: str, mean: list[float], deviation: list[float]) -> Classifier:
    """The architecture from a folder's config.json, with fresh weights."""
    return _around(load_transformers().AutoConfig.from_pretrained(config_folder), mean, deviation)


def open_dual(folder: Path, *, mean: list[float], deviation: list[float]) -> tuple[Classifier, Any]:
    """The dual encoder in a local folder, in eval mode, and its configuration. Raises as `open_both` does."""
    whole = open_both(folder)
    model, state = _around(whole.config, mean, deviation), whole.state_dict()
    for tower in model.encoders.values():
        body = tower.get_submodule("body")
        body.load_state_dict({name: state[name] for name in body.state_dict()})
    return model.eval(), whole.config


def _around(config: Any, mean: list[float], deviation: list[float]) -> Classifier:
    encoders: dict[str, nn.Module] = {}
    for kind in (getattr(load_transformers(), name) for name in TOWERS):
        own = next(part for part in (config.vision_config, config.text_config) if isinstance(part, kind.config_class))
        own.projection_dim = config.projection_dim
        pixels = Pixels(tuple(mean), tuple(deviation)) if kind.main_input_name == "pixel_values" else None  # type: ignore[arg-type]
        (m,) = kind.input_modalities
        encoders[m] = Tower(kind(eager(own)), pixels)
    return Classifier(encoders, Towers({m: nn.Identity() for m in encoders}))
