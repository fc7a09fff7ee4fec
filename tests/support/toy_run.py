"""The stages that run models, on the processor and on the device of toy_device.py: `python toy_run.py FOLDER` prints what differs, as JSON."""

from __future__ import annotations

import inspect
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import toy_device
from torch import nn

from compress import placement
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.pipeline import RunResult, make
from compress.recipe.grammar import load_recipe
from compress.recipe.sections import Loss, Train
from compress.store import keys
from compress.store.artifacts import hash_file
from compress.tables import LOSSES, resolve
from compress.tasks.task import task
from compress.training.batches import Batch
from compress.training.loop import train_step

RECIPE = """\
name: placed
data: {source: easy_vqa, inputs: {image: {size: 32}, text: {length: 8}}, train_limit: 16, test_limit: 10}
teacher:
  source: fit
  encoders: {image: {model: efficientnet_lite2, options: {size: 32}}, text: {model: minilm_l6}}
  head_width: 32
  train: {epochs: 1, batch_size: 16}
student:
  encoders:
    image: {model: mobilenet_v4, options: {width: 0.5, out: 32}}
    text: {options: {layers: 1, width: 32, heads: 1, feedforward: 64}}
  head_width: 32
  dropout: 0.1
distill:
  teacher: live
  losses: [{name: cross_entropy}, {name: dkd}, {name: hint}]
  augment: {views: 2, image: {flip: true, shift: 2}, text: {wordings: 2, reworded: 0.5}}
  train: {epochs: 1, batch_size: 16}
quantize: {calibration_batches: 2, max_drop_points: 0, teacher: both, train: {epochs: 1, batch_size: 16}}
"""
CLASSES, WIDTH, ROWS = 5, 4, 6


def run_stages(folder: Path, device: str) -> dict[str, str]:
    """Hashes of what the stages leave: file -> sha256."""
    steps = keys.Keys(load_recipe(folder / "placed.yaml", []), folder / device.replace(":", ""), 1, lambda line: None, device)
    made: dict[str, Any] = {}

    def step(name: str, *parents: str) -> None:
        given = tuple(made[parent] for parent in parents)
        made[name] = make(steps, name, steps.find(name, given)[0], given, RunResult({}, [], folder))

    with toy_device.OnToy() if device == toy_device.NAME else nullcontext():
        step("data")
        step("features", "data")
        step("teacher", "features", "data")
        step("targets", "teacher", "features", "data")
        step("distill", "teacher", "targets", "data")
        step("quantize", "distill", "targets", "data")
    suffixes = (".npy", ".safetensors")
    names = ("features", "teacher", "targets", "distill", "quantize")
    files = [(name, path) for name in names for path in sorted(made[name].path.rglob("*")) if path.suffix in suffixes]
    return {f"{name}/{path.relative_to(made[name].path)}": hash_file(path) for name, path in files}


def waits_of_a_step() -> dict[str, list[str]]:
    """What a training step waits for with each loss, where it need not look at the loss: loss -> operations; those that wait for nothing are left out."""
    found = {}
    for name in LOSSES:
        labels = torch.randint(CLASSES - 1, (ROWS,))
        if name in task("multi_label").losses:
            labels = nn.functional.one_hot(labels, CLASSES)
        elif name in task("regression").losses:
            labels = torch.randn(ROWS, CLASSES)
        elif name in task("token_labels").losses:
            labels = labels[:, None]  # of one word a row
        elif name in task("segmentation").losses:
            labels = labels[:, None, None]  # of one place a row
        with toy_device.OnToy():
            asked = inspect.signature(resolve(LOSSES[name])).parameters
            counts = torch.arange(CLASSES) if "counts" in asked else None
            towers = CLASSES if "towers" in asked else 1  # of a number each
            objective = Objective([Loss(name=name)], widths={"embedding": (WIDTH, WIDTH)}, counts=counts, towers=towers).to(toy_device.NAME)
            model = _Small().to(toy_device.NAME)
            optimizer = torch.optim.AdamW(model.parameters())
            teacher = Outputs(torch.randn(ROWS, CLASSES), torch.randn(ROWS, WIDTH))
            batch = Batch({"numbers": torch.randn(ROWS, 3)}, {"numbers": torch.arange(ROWS)}, labels, teacher, None, None)  # type: ignore[arg-type]
            toy_device.waits.clear()
            scaler = torch.amp.GradScaler("cpu", enabled=False)
            step = (model, optimizer, batch.to(torch.device(toy_device.NAME)), objective, Train())
            train_step(*step, done=0.5, place=name, scaler=scaler, look=False)
        if toy_device.waits:
            found[name] = sorted(toy_device.waits)
    return found


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        embedding = self.body(inputs["numbers"])[rows["numbers"]]
        return Outputs(self.head(embedding), embedding)


def main(folder: Path) -> None:
    """Prints the files, those that differ between the devices, and what a step waits for."""
    toy_device.register()
    keys.find_device = lambda asked: asked  # such a device is not for users
    placement.has_bf16 = lambda: False  # the toy has no bfloat16
    placement.CHANNELS_LAST = ()  # and no layout of its own, so that sums are in the same order
    (folder / "placed.yaml").write_text(RECIPE)
    there, here = run_stages(folder, toy_device.NAME), run_stages(folder, "cpu")
    differing = sorted(name for name in here if there.get(name) != here[name])
    print(json.dumps({"files": sorted(here), "differing": differing, "waits": waits_of_a_step()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
