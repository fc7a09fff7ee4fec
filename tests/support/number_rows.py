"""A recipe of rows of six numbers, of which the first says the answer: its trainings take a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RECIPE = """\
name: dealt
data:
  source: manifest
  options: {train: train.csv, test: test.csv, columns: {numbers: sensor, label: answer}}
  inputs: {numbers: {size: 6}}
teacher: {source: fit, encoders: {numbers: {model: raw}}, head_width: 32, train: {epochs: 2, batch_size: 16, validate_every: 0.2}}
student: {encoders: {numbers: {options: {width: 16}}}, dropout: 0.1}
distill: {losses: [{name: cross_entropy}, {name: kd}, {name: dist}], train: {epochs: 2, batch_size: 16, validate_every: 0.2}, compare_alone: true}
quantize: {calibration_batches: 4, teacher: both, train: {epochs: 1, batch_size: 16, validate_every: 0.2}}
"""


def write_numbers(folder: Path) -> Path:
    """The recipe, beside its rows."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 200), ("test", 40)):
        rows = [f"{' '.join(f'{x:.4f}' for x in values)},{'up' if values[0] > 0 else 'down'}" for values in draw.normal(size=(count, 6))]
        (folder / f"{split}.csv").write_text("\n".join(["sensor,answer", *rows]))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"
