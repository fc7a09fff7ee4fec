"""Dual encoders with both towers, against transformers' own forward of a tiny random CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from clips import write_clip
from ports import io_spec

from compress.io_spec import IOSpec, Port
from compress.models.dual import open_dual
from compress.models.saved import load_model, save_model

COLOURS: dict[str, Any] = {"mean": [0.48, 0.46, 0.41], "deviation": [0.27, 0.26, 0.28]}


@torch.no_grad()
def test_cosines_are_those_of_transformers_and_stay_when_saved(tmp_path: Path) -> None:
    theirs, (ours, config) = write_clip(tmp_path / "clip"), open_dual(tmp_path / "clip", **COLOURS)
    images, texts = (
        torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8),
        torch.tensor([[7, 1, 2, 8, 8], [7, 3, 8, 8, 8], [7, 4, 5, 1, 8]]),
    )
    pixels = (images / 255 - torch.tensor(COLOURS["mean"])) / torch.tensor(COLOURS["deviation"])
    expected = theirs(input_ids=texts, pixel_values=pixels.permute(0, 3, 1, 2)).logits_per_image / theirs.logit_scale.exp()
    vectors = ours({"image": images, "text": texts}).logits
    torch.testing.assert_close(vectors[:, :12] @ vectors[:, 12:].T, expected, rtol=1e-4, atol=1e-5)
    config.save_pretrained(tmp_path / "saved" / "config")
    io = IOSpec(io_spec(image_size=16, classes=2).inputs, (Port("logits", "float32", (24,), unit=True, each=2),))
    save_model(ours, tmp_path / "saved", name="dual_teacher", options={"config_folder": "config", **COLOURS}, io=io)
    torch.testing.assert_close(load_model(tmp_path / "saved")({"image": images, "text": texts}).logits, vectors)
    shared = ours({"image": images[:1], "text": texts}, {"image": torch.zeros(3, dtype=torch.int64), "text": torch.arange(3)}).logits
    torch.testing.assert_close(shared[:, :12], vectors[:1, :12].expand(3, -1))
